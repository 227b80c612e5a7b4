# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pollbal_global_optspecs
    string join \n config= socket= json dry-run once accept-removals v/verbose q/quiet h/help V/version
end

function __fish_pollbal_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pollbal_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pollbal_using_subcommand
    set -l cmd (__fish_pollbal_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pollbal -n "__fish_pollbal_needs_command" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_needs_command" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_needs_command" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_needs_command" -l dry-run -d 'Poll for real but change nothing; print the commands for load balancers, and changes of files as comments'
complete -c pollbal -n "__fish_pollbal_needs_command" -l once -d 'Exit after the first full round of polls and the sync that follows'
complete -c pollbal -n "__fish_pollbal_needs_command" -l accept-removals -d 'At startup, remove nodes that are no longer listed, however many they are; later, `pollbal reload --accept-removals` does so'
complete -c pollbal -n "__fish_pollbal_needs_command" -s v -l verbose -d 'Log more; twice: everything'
complete -c pollbal -n "__fish_pollbal_needs_command" -s q -l quiet -d 'Log only warnings and errors; twice: only errors'
complete -c pollbal -n "__fish_pollbal_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_needs_command" -s V -l version -d 'Print version'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "run" -d 'Poll the nodes, and keep pool files and load balancers in sync (the default)'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "check" -d 'Validate the configuration and services file, and print the effective settings'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "status" -d 'Show overall state; exits 0 if OK, 1 if DEGRADED, 2 if CRITICAL'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "explain" -d 'Explain why a node is in or out of its pool, and what would bring it back'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "disable" -d 'Take nodes out of their pools and record why'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "enable" -d 'Remove a reason; a node with none left returns at its next successful poll'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "weight" -d 'Give nodes another share of their pools\' requests, from 1 to 256, or end that with --reset'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "wait" -d 'Wait until nodes are drained, or serve'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "nudge" -d 'Poll nodes now'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "poll" -d 'Poll nodes now'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "members" -d 'List a pool\'s members, one per line'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "events" -d 'Show recent events'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "reload" -d 'Reload the configuration and services file; reports any errors'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "freeze" -d 'Stop removing failed nodes until every freeze is lifted'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "thaw" -d 'Lift a freeze'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "roll" -d 'Run a command for each node of a pool while it is out: a rolling deploy'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "leave" -d 'On a node: leave all pools, wait until drained, then run a command'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l dry-run -d 'Poll for real but change nothing; print the commands for load balancers, and changes of files as comments'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l once -d 'Exit after the first full round of polls and the sync that follows'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l accept-removals -d 'At startup, remove nodes that are no longer listed, however many they are; later, `pollbal reload --accept-removals` does so'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s v -l verbose -d 'Log more; twice: everything'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s q -l quiet -d 'Log only warnings and errors; twice: only errors'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l exit-zero-on -d 'Exit 0 at this level, too: for a probe that must not fail earlier' -r -f -a "degraded\t'Also if nodes are down, a file was rejected, and the like'
critical\t'Always, as long as pollbal responds'"
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l watch -d 'Show it again whenever it changes, until Ctrl-C; exits with the code of the last one'
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand explain" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand explain" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand explain" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand explain" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l reason -d 'Short tag for the reason (A-Z a-z 0-9 . _ + -); use the same tag to undo this' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l note -d 'Free text shown to others' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l for -d 'Expires by itself after this time, such as 2h' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l timeout -d 'Maximum time to wait, such as 30s or 10m; then exits 1' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l force -d 'Even if a pool drops below `min_members` or loses its last serving member'
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l wait -d 'Wait until it has taken effect in every load balancer'
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l reason -d 'Tag of the reason, as given to `pollbal disable`' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l ramp -d 'On its return, raise the node\'s weight over this time, such as 30s (0s: at once), instead of what `ramp` and `ramp_after` say' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l timeout -d 'Maximum time to wait, such as 30s or 10m; then exits 1' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l leave -d 'Instead of a reason, cancel the node\'s leave, if it can no longer do so itself'
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l wait -d 'Wait until it has taken effect in every load balancer'
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand weight" -l reason -d 'Short tag for the reason (A-Z a-z 0-9 . _ + -)' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand weight" -l note -d 'Free text shown to others' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand weight" -l for -d 'Expires by itself after this time, such as 2h' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand weight" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand weight" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand weight" -l reset -d 'End the weight that an operator gave'
complete -c pollbal -n "__fish_pollbal_using_subcommand weight" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand weight" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l until -d 'What to wait for' -r -f -a "drained\t'Out of its pools, and no requests in progress'
serving\t'A member that serves, in every load balancer'
full-weight\t'The same, and its weight has risen to its full weight'"
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l timeout -d 'Maximum time to wait, such as 30s or 10m; then exits 1' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand nudge" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand nudge" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand nudge" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand nudge" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand poll" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand poll" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand poll" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand poll" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand members" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand members" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand members" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand members" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -s n -l limit -d 'Maximum number of recent events' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -s f -l follow -d 'Print new events as they happen, until Ctrl-C, even across a restart of pollbal; with --json one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -l accept-removals -d 'Remove nodes that are no longer listed, however many they are'
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l reason -d 'Short tag for the reason (A-Z a-z 0-9 . _ + -); use the same tag to undo this' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l note -d 'Free text shown to others' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -l reason -d 'Tag of the reason, as given to `pollbal freeze`' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l parallel -d 'Number of nodes at a time' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l pause -d 'Delay between a node and the next' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l timeout -d 'Time limit for each step except COMMAND: until the node may be taken out (while no other of this roll is out), is drained, and serves again' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l ramp -d 'On its return, raise each node\'s weight over this time, such as 30s (0s: at once), instead of what `ramp` and `ramp_after` say; the node is done when it has its full weight' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l reason -d 'Tag of the reason for which nodes are disabled' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l timeout -d 'Maximum total time to wait, such as 30s or 10m; then exits 1 [default: unlimited while the node waits for its turn, then 10m, the default of `leave_timeout`]' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l skip-dead -d 'Skip a load balancer that has not responded for this long [default if no time is given: 60s, more than a restart of pollbal takes]; one that responds that it is busy is waited for' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l from -d 'The node\'s address, if this machine has several' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l port -d 'The node\'s port, if several nodes share this machine\'s address' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l config -d 'Configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l socket -d 'Admin socket of the daemon [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l back -d 'Report that the node is back when COMMAND has succeeded, so that it returns at its next successful polls'
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l json -d 'Print the daemon\'s response as JSON; several values one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "run" -d 'Poll the nodes, and keep pool files and load balancers in sync (the default)'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "check" -d 'Validate the configuration and services file, and print the effective settings'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "status" -d 'Show overall state; exits 0 if OK, 1 if DEGRADED, 2 if CRITICAL'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "explain" -d 'Explain why a node is in or out of its pool, and what would bring it back'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "disable" -d 'Take nodes out of their pools and record why'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "enable" -d 'Remove a reason; a node with none left returns at its next successful poll'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "weight" -d 'Give nodes another share of their pools\' requests, from 1 to 256, or end that with --reset'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "wait" -d 'Wait until nodes are drained, or serve'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "nudge" -d 'Poll nodes now'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "members" -d 'List a pool\'s members, one per line'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "events" -d 'Show recent events'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "reload" -d 'Reload the configuration and services file; reports any errors'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "freeze" -d 'Stop removing failed nodes until every freeze is lifted'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "thaw" -d 'Lift a freeze'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "roll" -d 'Run a command for each node of a pool while it is out: a rolling deploy'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "leave" -d 'On a node: leave all pools, wait until drained, then run a command'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable weight wait nudge members events reload freeze thaw roll leave help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
