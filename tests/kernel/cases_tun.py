# SPDX-License-Identifier: BSD-2-Clause
"""Endings that need segments made by hand: the peer is tests/programs/tunpeer.py."""
from case import Case

CONNECTED = """
    tun: up 10.77.0.1 10.77.0.2
    cli: connect-start c 10.77.0.2 9000
    tun: answer 9000
    cli: connect-wait c
"""
ORPHANED = CONNECTED + """
    cli: close c
    tun: expect F
"""
CLOSED = "ESTABLISHED>FIN_WAIT1 close:cli closer:cli"
ACKNOWLEDGED = "FIN_WAIT1>FIN_WAIT2 network closer:cli"

CASES = [
    Case("simultaneous_close", ORPHANED + """
        tun: send FA ack=-1
        -- wait cli.c CLOSING
        -- ss cli.c CLOSING
        tun: send A
        -- wait cli.c TIME_WAIT
        -- ss cli.c TIME_WAIT
        """, {"cli.c connect": [
            CLOSED, "FIN_WAIT1>CLOSING network closer:cli", "CLOSING>TIME_WAIT network closer:cli",
            "closed fin closer=cli/close first_fin=both bucket=time_wait closer:cli",
        ]}),
    Case("fin_and_ack_in_one_segment", ORPHANED + """
        tun: send FA
        -- wait cli.c TIME_WAIT
        -- ss cli.c TIME_WAIT
        """, {"cli.c connect": [
            CLOSED, ACKNOWLEDGED, "FIN_WAIT2>TIME_WAIT network closer:cli",
            "closed fin closer=cli/close first_fin=local bucket=time_wait closer:cli",
        ]}),
    Case("fin_wait1_orphan_timeout", ORPHANED + """
        -- wait cli.c FIN_WAIT1
        -- gone cli.c
        """, {"cli.c connect": [
            CLOSED, "FIN_WAIT1>CLOSE timer closer:cli",
            "closed timeout closer=cli/close first_fin=local errno=110 bucket=none closer:cli",
        ]}, sysctls=("net.ipv4.tcp_orphan_retries=1",)),
    Case("fin_wait1_orphan_reset", ORPHANED + """
        tun: send RA
        -- gone cli.c
        """, {"cli.c connect": [
            CLOSED, "FIN_WAIT1>CLOSE network closer:cli",
            "closed rst_received closer=cli/close first_fin=local errno=104 bucket=none closer:cli",
        ]}),
    # The segment that acknowledges our FIN carries data: FIN_WAIT2 and our RST within the same handling, no sk_err.
    Case("late_data_with_the_ack", ORPHANED + """
        tun: send PA data=9
        tun: expect R
        -- gone cli.c
        """, {"cli.c connect": [
            CLOSED, ACKNOWLEDGED, "FIN_WAIT2>CLOSE network closer:cli",
            "closed rst_late_data closer=cli/close first_fin=local bucket=none closer:cli",
        ]}),
    # Data that does not acknowledge our FIN.
    Case("late_data_in_fin_wait1", ORPHANED + """
        tun: send PA data=9 ack=-1
        tun: expect R
        -- gone cli.c
        """, {"cli.c connect": [
            CLOSED, "FIN_WAIT1>CLOSE network closer:cli",
            "closed rst_late_data closer=cli/close first_fin=local errno=104 bucket=none closer:cli",
        ]}),
    # The peer's own RST for a full orphan looks the same to sk_err: nothing of ours may follow it.
    Case("fin_wait2_orphan_reset", ORPHANED + """
        tun: send A
        -- wait cli.c FIN_WAIT2
        tun: send RA
        -- gone cli.c
        """, {"cli.c connect": [
            CLOSED, ACKNOWLEDGED, "FIN_WAIT2>CLOSE network closer:cli",
            "closed rst_received closer=cli/close first_fin=local errno=104 bucket=none closer:cli",
        ]}, sysctls=("net.ipv4.tcp_fin_timeout=120",)),
    # tcp_fin_timeout over 60 s: the full socket waits for what is over, then a timer makes the bucket.
    Case("fin_wait2_orphan_becomes_a_bucket_by_timer", ORPHANED + """
        tun: send A
        -- wait cli.c FIN_WAIT2
        """, {"cli.c connect": [
            CLOSED, ACKNOWLEDGED, "closed fin closer=cli/close first_fin=local bucket=fin_wait2 closer:cli",
        ]}, sysctls=("net.ipv4.tcp_fin_timeout=62",)),
    Case("keepalive_timeout", CONNECTED + """
        cli: keepalive c 1 1 1
        -- gone cli.c
        """, {"cli.c connect": [
            "ESTABLISHED>CLOSE timer opener:cli",
            "closed timeout closer=none first_fin=none errno=110 bucket=none opener:cli",
        ]}),
    Case("user_timeout", CONNECTED + """
        cli: user-timeout c 300
        cli: send c 20
        -- gone cli.c
        """, {"cli.c connect": [
            "ESTABLISHED>CLOSE timer opener:cli",
            "closed timeout closer=none first_fin=none errno=110 bucket=none opener:cli",
        ]}),
    # The peer's FIN, then silence: our data is never acknowledged in CLOSE_WAIT.
    Case("close_wait_timeout", CONNECTED + """
        tun: send FA
        -- wait cli.c CLOSE_WAIT
        cli: user-timeout c 300
        cli: send c 20
        -- gone cli.c
        """, {"cli.c connect": [
            "ESTABLISHED>CLOSE_WAIT network opener:cli",
            "CLOSE_WAIT>CLOSE timer opener:cli",
            "closed timeout closer=none first_fin=peer errno=110 bucket=none opener:cli",
        ]}),
    Case("connect_unreachable", """
        tun: up 10.77.0.1 10.77.0.2
        tun: play 9000
        cli: connect-start c 10.77.0.2 9000
        tun: expect S
        tun: unreachable
        cli: connect-wait c !EHOSTUNREACH
        """, {"cli.c connect": [
            "SYN_SENT>CLOSE network opener:cli",
            "closed unreachable closer=none first_fin=none errno=113 bucket=none opener:cli",
        ]}),
    Case("shut_down_while_connecting", """
        tun: up 10.77.0.1 10.77.0.2
        cli: connect-start c 10.77.0.2 9000
        -- wait cli.c SYN_SENT
        cli: shutdown c rdwr
        """, {"cli.c connect": [
            "SYN_SENT>CLOSE disconnect:cli closer:cli|opener:cli",
            "closed abandoned closer=cli/shutdown|none first_fin=none bucket=none closer:cli|opener:cli",
        ]}),
    Case("simultaneous_open", """
        tun: up 10.77.0.1 10.77.0.2
        tun: play 9000
        cli: connect-start c 10.77.0.2 9000
        tun: expect S
        tun: send S
        -- wait cli.c SYN_RECV
        tun: send A
        cli: connect-wait c
        tun: send RA
        -- gone cli.c
        """, {"cli.c connect": [
            "CLOSE>SYN_SENT connect:cli opener:cli in_state=null",
            "SYN_SENT>SYN_RECV network opener:cli",
            "SYN_RECV>ESTABLISHED network opener:cli",
            "ESTABLISHED>CLOSE network opener:cli",
            "closed rst_received closer=none first_fin=none errno=104 bucket=none opener:cli",
        ]}, options=("--all-states",)),
    Case("accepted_from_the_wire", """
        tun: up 10.77.0.1 10.77.0.2
        srv: listen l 10.77.0.1 8080
        tun: open 9000 8080
        srv: accept a l
        tun: send PA data=12
        srv: recv a 12
        tun: send FA
        -- wait srv.a CLOSE_WAIT
        srv: recv-eof a
        srv: close a
        tun: expect F
        tun: send A
        -- gone srv.a
        """, {"srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv",
            "CLOSE_WAIT>LAST_ACK close:srv closer:srv",
            "LAST_ACK>CLOSE network closer:srv",
            "closed fin closer=srv/close first_fin=peer bucket=none closer:srv received=12",
        ]}),
]
