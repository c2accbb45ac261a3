# SPDX-License-Identifier: BSD-2-Clause
"""Sockets from before the start: known by a walk, shown as snapshot lines where they are on the close path."""
from case import USED, Case, orphan, passive

CASES = [
    Case("before_established", USED + """
        -- watch
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        """, {"cli.c any": [orphan("cli")[0] + " in_state=null", *orphan("cli")[1:]],
              "srv.a any": ["ESTABLISHED>CLOSE_WAIT network holder:srv in_state=null",
                            *passive("", "srv")[1:]]}),
    Case("before_established_used_after", USED + """
        -- watch
        srv: send a 5
        cli: recv c 5
        srv: close a
        -- wait srv.a FIN_WAIT2
        cli: close c
        """, {"srv.a any": [orphan("srv")[0] + " in_state=null", *orphan("srv")[1:]],
              "cli.c any": ["ESTABLISHED>CLOSE_WAIT network holder:cli in_state=null",
                            *passive("", "cli")[1:]]}),
    Case("before_close_wait", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        -- watch
        srv: close a
        -- wait cli.c TIME_WAIT
        """, {"cli.c any": ["snapshot FIN_WAIT2 unknown:none"],
              "srv.a any": ["snapshot CLOSE_WAIT holder:srv",
                            passive("", "srv")[1] + " in_state=null", *passive("", "srv")[2:]]}),
    Case("before_close_wait_held_by_a_child", USED + """
        srv: fork kid
        kid: show a
        srv: close a
        cli: close c
        -- wait cli.c FIN_WAIT2
        -- watch
        """, {"cli.c any": ["snapshot FIN_WAIT2 unknown:none"], "kid.a any": ["snapshot CLOSE_WAIT holder:kid"]}),
    Case("before_close_wait_never_accepted", """
        srv: listen l 127.0.0.1 8080
        cli: connect c 127.0.0.1 8080
        cli: close c
        -- wait cli.c FIN_WAIT2
        -- watch
        """, {"cli.c any": ["snapshot FIN_WAIT2 unknown:none"], "~cli.c any": ["snapshot CLOSE_WAIT listener:srv"]}),
    Case("before_fin_wait2_living", USED + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        -- watch
        srv: close a
        -- wait cli.c TIME_WAIT
        """, {"cli.c any": ["snapshot FIN_WAIT2 holder:cli",
                            "FIN_WAIT2>TIME_WAIT network holder:cli in_state=null",
                            "closed fin closer=none first_fin=local|none bucket=time_wait holder:cli"],
              "srv.a any": ["snapshot CLOSE_WAIT holder:srv",
                            passive("", "srv")[1] + " in_state=null", *passive("", "srv")[2:]]}),
    Case("before_time_wait_of_a_listener", USED + """
        srv: shutdown a wr
        -- wait srv.a FIN_WAIT2
        cli: close c
        -- wait srv.a TIME_WAIT
        srv: close a
        -- watch
        -- ss srv.a TIME_WAIT
        """, {"srv.a any": ["snapshot TIME_WAIT listener:srv"]}),
    Case("before_time_wait_of_nobody", USED + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- wait cli.c TIME_WAIT
        cli: close c
        -- watch
        -- ss cli.c TIME_WAIT
        """, {"cli.c any": ["snapshot TIME_WAIT unknown:none"]}),
    Case("before_fin_wait2_of_a_listener", USED + """
        srv: close a
        -- wait srv.a FIN_WAIT2
        -- watch
        -- ss srv.a FIN_WAIT2
        """, {"srv.a any": ["snapshot FIN_WAIT2 listener:srv"], "cli.c any": ["snapshot CLOSE_WAIT holder:cli"]}),
    Case("before_listener_only", """
        srv: listen l 127.0.0.1 8080
        -- watch
        cli: connect c 127.0.0.1 8080
        srv: accept a l
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("listener:srv", "srv")}),
    Case("before_ipv6", USED.replace("127.0.0.1", "::1") + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        -- watch
        """, {"cli.c any": ["snapshot FIN_WAIT2 unknown:none"], "srv.a any": ["snapshot CLOSE_WAIT holder:srv"]},
         needs="/proc/net/if_inet6"),
]
