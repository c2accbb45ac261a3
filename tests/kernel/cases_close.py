# SPDX-License-Identifier: BSD-2-Clause
"""Each way to end a connection between two kernels' sockets: states, ending, bucket, errno."""
from case import OPEN, USED, Case, half_closed, orphan, passive, reset, waiting

IPV6 = "/proc/net/if_inet6"

CASES = [
    Case("active_close", USED + """
        cli: cookie c
        cli: close c
        -- wait cli.c FIN_WAIT2
        -- ss cli.c FIN_WAIT2
        srv: recv-eof a
        srv: close a
        -- wait cli.c TIME_WAIT
        -- ss cli.c TIME_WAIT
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv")}),
    Case("passive_close", USED + """
        srv: cookie a
        srv: close a
        -- wait srv.a FIN_WAIT2
        cli: recv-eof c
        cli: close c
        -- wait srv.a TIME_WAIT
        -- ss srv.a TIME_WAIT
        """, {"cli.c connect": passive("opener:cli", "cli"), "srv.a accept": orphan("srv")}),
    Case("half_close_then_close", USED + """
        cli: shutdown c wr
        srv: recv-eof a
        srv: send a 50
        srv: close a
        cli: recv-eof c
        -- wait cli.c TIME_WAIT
        -- ss cli.c TIME_WAIT
        cli: close c
        """, {"cli.c connect": half_closed("cli"), "srv.a accept": passive("opener:srv", "srv")}),
    Case("half_close_then_close_early", USED + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        cli: close c
        -- ss cli.c FIN_WAIT2
        srv: close a
        -- wait cli.c TIME_WAIT
        """, {"cli.c connect": [
            "ESTABLISHED>FIN_WAIT1 shutdown:cli closer:cli",
            "FIN_WAIT1>FIN_WAIT2 network closer:cli",
            "FIN_WAIT2>FIN_WAIT2 close:cli closer:cli",
            "closed fin closer=cli/close first_fin=local bucket=fin_wait2 closer:cli",
        ], "srv.a accept": passive("opener:srv", "srv")}),
    Case("shutdown_both_descriptor_kept", USED + """
        cli: shutdown c rdwr
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- wait cli.c TIME_WAIT
        -- ss cli.c TIME_WAIT
        """, {"cli.c connect": half_closed("cli"), "srv.a accept": passive("opener:srv", "srv")}),
    Case("shutdown_in_close_wait_descriptor_kept", USED + """
        cli: close c
        -- wait srv.a CLOSE_WAIT
        -- wait cli.c FIN_WAIT2
        srv: shutdown a wr
        -- gone srv.a
        srv: close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv", "shutdown")}),
    Case("linger_0", USED + """
        cli: linger c 0
        cli: close c
        -- gone srv.a
        """, {"cli.c connect": [
            "ESTABLISHED>CLOSE close:cli closer:cli",
            "closed rst_linger0 closer=cli/close first_fin=none bucket=none closer:cli",
        ], "srv.a accept": reset("opener:srv")}),
    Case("linger_0_in_close_wait", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: linger a 0
        srv: close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>CLOSE close:srv closer:srv",
            "closed rst_linger0 closer=srv/close first_fin=peer bucket=none closer:srv",
        ]}),
    Case("unread_data", USED + """
        srv: send a 5
        cli: close c
        -- gone srv.a
        """, {"cli.c connect": [
            "ESTABLISHED>CLOSE close:cli closer:cli",
            "closed rst_unread closer=cli/close first_fin=none bucket=none closer:cli",
        ], "srv.a accept": reset("opener:srv")}),
    Case("unread_data_in_close_wait", USED + """
        cli: send c 5
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>CLOSE close:srv closer:srv",
            "closed rst_unread closer=srv/close first_fin=peer bucket=none closer:srv",
        ]}),
    Case("late_data_for_a_full_orphan", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: send a 7
        -- gone cli.c
        """, {"cli.c connect": [
            "ESTABLISHED>FIN_WAIT1 close:cli closer:cli",
            "FIN_WAIT1>FIN_WAIT2 network closer:cli",
            "FIN_WAIT2>CLOSE network closer:cli",
            "closed rst_late_data closer=cli/close first_fin=local errno=104 bucket=none received=30 closer:cli",
        ], "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>CLOSE network opener:srv",
            "closed rst_received closer=none first_fin=peer errno=32 bucket=none opener:srv",
        ]}, sysctls=("net.ipv4.tcp_fin_timeout=120",)),  # over 60 s: no bucket yet, the full socket is the orphan
    Case("full_orphan_then_fin", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- wait cli.c TIME_WAIT
        """, {"cli.c connect": [
            *orphan("cli")[:2],
            "FIN_WAIT2>TIME_WAIT network closer:cli",
            "closed fin closer=cli/close first_fin=local bucket=time_wait closer:cli",
        ], "srv.a accept": passive("opener:srv", "srv")}, sysctls=("net.ipv4.tcp_fin_timeout=120",)),
    Case("full_orphan_closed_in_fin_wait2_then_fin", USED + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        cli: close c
        srv: close a
        -- wait cli.c TIME_WAIT
        """, {"cli.c connect": [
            *half_closed("cli")[:2],
            "FIN_WAIT2>FIN_WAIT2 close:cli closer:cli",
            "FIN_WAIT2>TIME_WAIT network closer:cli",
            "closed fin closer=cli/close first_fin=local bucket=time_wait closer:cli",
        ], "srv.a accept": passive("opener:srv", "srv")}, sysctls=("net.ipv4.tcp_fin_timeout=120",)),
    Case("full_orphan_closed_in_fin_wait2_then_data", USED + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        cli: close c
        srv: send a 7
        -- gone cli.c
        """, {"cli.c connect": [
            *half_closed("cli")[:2],
            "FIN_WAIT2>FIN_WAIT2 close:cli closer:cli",
            "FIN_WAIT2>CLOSE network closer:cli",
            "closed rst_late_data closer=cli/close first_fin=local errno=104 bucket=none received=30 closer:cli",
        ], "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>CLOSE network opener:srv",
            "closed rst_received closer=none first_fin=peer errno=32 bucket=none opener:srv",
        ]}, sysctls=("net.ipv4.tcp_fin_timeout=120",)),
    Case("late_data_for_a_bucket", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: send a 7
        -- gone srv.a
        """, {"cli.c connect": [*orphan("cli")[:2], orphan("cli")[2] + " received=30"], "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>CLOSE network opener:srv",
            "closed rst_received closer=none first_fin=peer errno=32 bucket=none opener:srv",
        ]}),
    Case("linger2_negative", USED + """
        cli: linger2 c -1
        cli: close c
        -- gone cli.c
        -- gone srv.a
        """, {"cli.c connect": [
            "ESTABLISHED>FIN_WAIT1 close:cli closer:cli",
            "FIN_WAIT1>FIN_WAIT2 network closer:cli",
            "FIN_WAIT2>CLOSE network closer:cli",
            "closed rst_linger2 closer=cli/close first_fin=local bucket=none closer:cli",
        ], "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>CLOSE network opener:srv",
            "closed rst_received closer=none first_fin=peer errno=32 bucket=none opener:srv",
        ]}),
    Case("linger2_negative_in_fin_wait2", USED + """
        cli: linger2 c -1
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        cli: close c
        -- gone srv.a
        """, {"cli.c connect": [
            "ESTABLISHED>FIN_WAIT1 shutdown:cli closer:cli",
            "FIN_WAIT1>FIN_WAIT2 network closer:cli",
            "FIN_WAIT2>FIN_WAIT2 close:cli closer:cli",
            "FIN_WAIT2>CLOSE close:cli closer:cli",
            "closed rst_linger2 closer=cli/close first_fin=local bucket=none closer:cli",
        ], "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>CLOSE network opener:srv",
            "closed rst_received closer=none first_fin=peer errno=32 bucket=none opener:srv",
        ]}),
    Case("fin_wait2_orphan", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        -- ss cli.c FIN_WAIT2
        """, {"cli.c connect": orphan("cli"), "srv.a accept": waiting("opener:srv")}),
    Case("fin_wait2_living", USED + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        -- ss cli.c FIN_WAIT2
        """, {"cli.c connect": half_closed("cli")[:2], "srv.a accept": waiting("opener:srv")}),
    Case("fin_wait2_living_then_time_wait", OPEN + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- wait cli.c TIME_WAIT
        -- ss cli.c TIME_WAIT
        """, {"cli.c connect": half_closed("cli"), "srv.a accept": passive("listener:srv", "srv")}),
    Case("connect_refused", """
        cli: bind c 127.0.0.1 40001
        cli: connect c 127.0.0.1 8080 !ECONNREFUSED
        """, {"cli.c connect": [
            "SYN_SENT>CLOSE network opener:cli",
            "closed refused closer=none first_fin=none errno=111 bucket=none opener:cli",
        ]}),
    Case("connect_abandoned", """
        tun: up 10.77.0.1 10.77.0.2
        cli: connect-start c 10.77.0.2 8080
        -- wait cli.c SYN_SENT
        cli: close c
        """, {"cli.c connect": [
            "SYN_SENT>CLOSE close:cli closer:cli",
            "closed abandoned closer=cli/close first_fin=none bucket=none closer:cli",
        ]}),
    Case("connect_timed_out", """
        tun: up 10.77.0.1 10.77.0.2
        cli: connect-start c 10.77.0.2 8080
        cli: connect-wait c !ETIMEDOUT
        """, {"cli.c connect": [
            "SYN_SENT>CLOSE timer opener:cli",
            "closed timeout closer=none first_fin=none errno=110 bucket=none opener:cli",
        ]}, sysctls=("net.ipv4.tcp_syn_retries=1", "net.ipv4.tcp_syn_linear_timeouts=0")),
    Case("connect_to_unspec_disconnects", USED + """
        cli: disconnect c
        -- gone srv.a
        """, {"cli.c connect": [
            "ESTABLISHED>CLOSE disconnect:cli closer:cli|opener:cli",
            "closed disconnected closer=none first_fin=none bucket=none closer:cli|opener:cli",
        ], "srv.a accept": reset("opener:srv")}),
    Case("reset_in_established", USED + """
        srv: linger a 0
        srv: close a
        -- gone cli.c
        cli: recv c 1 !ECONNRESET
        """, {"cli.c connect": reset("opener:cli"), "srv.a accept": [
            "ESTABLISHED>CLOSE close:srv closer:srv",
            "closed rst_linger0 closer=srv/close first_fin=none bucket=none closer:srv",
        ]}),
    Case("reset_in_close_wait", USED + """
        srv: close a
        -- wait srv.a FIN_WAIT2
        cli: send c 7
        -- gone cli.c
        """, {"srv.a accept": [*orphan("srv")[:2], orphan("srv")[2] + " received=100"], "cli.c connect": [
            "ESTABLISHED>CLOSE_WAIT network opener:cli",
            "CLOSE_WAIT>CLOSE network opener:cli",
            "closed rst_received closer=none first_fin=peer errno=32 bucket=none opener:cli",
        ]}),
    Case("reset_in_last_ack", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        -- gone cli.c
        srv: close a
        -- gone srv.a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>LAST_ACK close:srv closer:srv",
            "LAST_ACK>CLOSE network closer:srv",
            "closed rst_received closer=srv/close first_fin=peer errno=104 bucket=none closer:srv",
        ]}, sysctls=("net.ipv4.tcp_fin_timeout=1",)),  # the bucket has gone: nobody knows the last FIN any more
    Case("listener_closed_with_children", """
        srv: listen l 127.0.0.1 8080
        cli: connect c1 127.0.0.1 8080
        cli: connect c2 127.0.0.1 8080
        cli: close c2
        -- wait cli.c2 FIN_WAIT2
        srv: close l
        -- gone cli.c1
        """, {"~cli.c1 accept": [
            "ESTABLISHED>CLOSE listener_closed:srv closer:srv",
            "closed never_accepted closer=srv/close first_fin=none bucket=none closer:srv",
        ], "~cli.c2 accept": [
            "ESTABLISHED>CLOSE_WAIT network listener:srv",
            "CLOSE_WAIT>CLOSE listener_closed:srv closer:srv",
            "closed never_accepted closer=srv/close first_fin=peer bucket=none closer:srv",
        ], "cli.c1 connect": reset("opener:cli"), "cli.c2 connect": orphan("cli")}),
    Case("listener_killed_with_children", """
        srv: listen l 127.0.0.1 8080
        cli: connect c 127.0.0.1 8080
        -- kill srv
        -- gone cli.c
        """, {"~cli.c accept": [
            "ESTABLISHED>CLOSE listener_closed:srv closer:srv",
            "closed never_accepted closer=srv/exit first_fin=none bucket=none closer:srv",
        ], "cli.c connect": reset("opener:cli")}),
    Case("listener_shut_down_with_children", """
        srv: listen l 127.0.0.1 8080
        cli: connect c 127.0.0.1 8080
        srv: shutdown l rd
        -- gone cli.c
        """, {"~cli.c accept": [
            "ESTABLISHED>CLOSE listener_closed:srv closer:srv",
            "closed never_accepted closer=srv/shutdown first_fin=none bucket=none closer:srv",
        ], "cli.c connect": reset("opener:cli")}),
    # tcp_max_tw_buckets reached: the kernel forgets the connection at once, and says so to nobody; a walk finds it.
    Case("time_wait_table_full", USED + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- gone cli.c
        """, {"cli.c connect": [
            *half_closed("cli")[:2],
            "closed fin closer=cli/shutdown first_fin=local bucket=null closer:cli",
            "FIN_WAIT2>CLOSE overflow observed=sweep closer:cli",
        ], "srv.a accept": passive("opener:srv", "srv")}, sysctls=("net.ipv4.tcp_max_tw_buckets=0",)),
    Case("ss_kill_established", USED + """
        -- ss-kill srv.a
        -- gone srv.a
        -- gone cli.c
        """, {"srv.a accept": [
            "ESTABLISHED>CLOSE kill:ss opener:srv",
            "closed killed closer=none first_fin=none errno=103 bucket=none opener:srv",
        ], "cli.c connect": reset("opener:cli")}),
    Case("ss_kill_close_wait", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        -- ss-kill srv.a
        -- gone srv.a
        """, {"srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>CLOSE kill:ss opener:srv",
            "closed killed closer=none first_fin=peer errno=103 bucket=none opener:srv",
        ], "cli.c connect": orphan("cli")}),
    Case("ipv6", USED.replace("127.0.0.1", "::1") + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- wait cli.c TIME_WAIT
        -- ss cli.c TIME_WAIT
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv")}, needs=IPV6),
    Case("v4_mapped", USED.replace("127.0.0.1", "::ffff:127.0.0.1") + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- wait cli.c TIME_WAIT
        -- ss cli.c TIME_WAIT
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv")}, needs=IPV6),
    Case("v4_client_of_a_v6_listener", USED.replace("listen l 127.0.0.1", "listen l ::") + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv")}, needs=IPV6),
    Case("all_states", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- gone srv.a
        srv: close l
        """, {"cli.c connect": ["CLOSE>SYN_SENT connect:cli opener:cli in_state=null", "SYN_SENT>ESTABLISHED network opener:cli",
                                *orphan("cli")],
              "srv.a accept": ["LISTEN>SYN_RECV network listener:srv in_state=null", "SYN_RECV>ESTABLISHED network listener:srv",
                               *passive("opener:srv", "srv")],
              "srv.l any": ["CLOSE>LISTEN listen:srv opener:srv|listener:srv in_state=null", "LISTEN>CLOSE close:srv closer:srv"]},
         options=("--all-states",)),
]
