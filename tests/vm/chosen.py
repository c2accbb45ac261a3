# SPDX-License-Identifier: BSD-2-Clause
"""What is played on which kernel, by the names that the cases of tests/kernel and of this folder have.

Chosen so that each program in the kernel, each field of its that is read, and each way to attribute, is at work once. A
run of them takes a minute or two on an emulated processor; scripts/vmtest --filter '' plays all there are.
"""

FLOOR = (5, 15)
SEES_USE = (6, 3)

# Transitions, endings, buckets.
CLOSING = """
active_close half_close_then_close shutdown_both_descriptor_kept linger_0 unread_data_in_close_wait
late_data_for_a_full_orphan linger2_negative_in_fin_wait2 fin_wait2_orphan fin_wait2_living_then_time_wait
connect_refused connect_to_unspec_disconnects reset_in_close_wait listener_closed_with_children time_wait_table_full
ss_kill_established v4_mapped simultaneous_close closed_by_another_in_last_ack
"""
# Whose they are: accepted, connected, closed, passed on, used, from before the start.
OWNERS = """
process_in_full killed_with_open_connections prefork_server fork_per_connection_server exec_after_accept
descriptor_passed_and_used two_namespaces_same_addresses mptcp_both_sides_client_first
before_established before_close_wait_held_by_a_child before_close_wait_never_accepted before_time_wait_of_a_listener
"""
# Options that are worked off in the kernel.
FILTERS = """
filter_pid_with_children filter_pid_of_a_queue_from_before filter_comm filter_local_port filter_ipv6
filter_netns_by_inode filter_cgroup
"""
# From start to end of a run, and what it does where something is missing.
RUNS = "text_output refuses_without_cap_bpf doctor_root doctor_nothing_stays lossy_ring recording_replays"
# The tables that walks read, and what is found in them.
WALKS = "time_wait_of_both_sides time_wait_owner_exited leak_mended report_one_look run_leak_in_a_descendant"
# One run of leaks and their innocent twins, looked at from many sides (cases_few.py).
LEAKS = """
few_leak_forgotten few_leak_forgotten_connecting few_leak_one_of_two_descriptors few_leak_inherited_fork
few_leak_inherited_exec few_leak_dead_by_reset few_innocent_stale_pool few_innocent_full_accept_queue
few_innocent_passed_on few_innocent_spliced few_innocent_copy_in_a_child few_innocent_refused few_innocent_in_flight
few_innocent_peeking few_innocent_full_window few_innocent_peer_vanished
"""
# Where the kernel does not tell of reads and writes.
UNSEEN_USE = "nothing_rests_on_use"
REFUSED = "refused_trace refused_report refused_run refused_without_a_file refused_by_doctor"


def cases_for(series):
    version = tuple(map(int, series.split("."))) if series != "newest" else (999,)
    if version < FLOOR:
        return REFUSED.split()
    words = f"{CLOSING} {OWNERS} {FILTERS} {RUNS} {WALKS} {LEAKS}"
    return (words if version >= SEES_USE else f"{words} {UNSEEN_USE}").split()
