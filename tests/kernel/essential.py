# SPDX-License-Identifier: BSD-2-Clause
"""Some cases of each area: what is played where all of them would take too long (--essential)."""

ESSENTIAL = frozenset("""
    active_close passive_close half_close_then_close shutdown_both_descriptor_kept linger_0 unread_data
    late_data_for_a_bucket linger2_negative connect_refused reset_in_close_wait listener_killed_with_children
    time_wait_table_full ss_kill_close_wait ipv6 v4_mapped all_states simultaneous_close keepalive_timeout
    killed_with_open_connections prefork_server fork_per_connection_server descriptor_passed_and_used exec_after_accept
    inherited_after_the_opener_exited mptcp_both_sides_client_first two_namespaces_same_addresses
    before_close_wait before_close_wait_never_accepted before_time_wait_of_a_listener
    filter_pid_with_children filter_comm filter_local_port filter_ipv6 filter_netns_by_inode filter_events_several
    filter_cgroup
    broken_pipe slow_reader text_output hostile_name_no_utf8_json hostile_name_escape_text refuses_port_65536
    refuses_without_cap_bpf refuses_unwritable_output stalled_terminal
    flood_tiny_ring
    leak_forgotten leak_inherited_exec leak_dead_by_reset leak_of_ended_process innocent_passed_on innocent_in_flight
    innocent_io_uring innocent_reset_and_closed
    report_in_every_form report_stacks report_fail_on_leak report_interrupted
    run_status_7 run_status_127 run_leak run_leak_in_a_descendant run_user_leaks run_on_a_terminal
    demo_report demo_killed
    doctor_root doctor_nobody doctor_states_as_ss doctor_text
    stranded_orphan stranded_and_held
    time_wait_of_both_sides time_wait_from_before time_wait_reused_by_connect time_wait_as_text orphan_promoted
""".split())
