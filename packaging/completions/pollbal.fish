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

complete -c pollbal -n "__fish_pollbal_needs_command" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_needs_command" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_needs_command" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_needs_command" -l dry-run -d 'Poll for real, change nothing, and print what would be said to Perlbal, and as comments what would be written'
complete -c pollbal -n "__fish_pollbal_needs_command" -l once -d 'End after the first full round and its sync'
complete -c pollbal -n "__fish_pollbal_needs_command" -l accept-removals -d 'At the start, remove the nodes that the services file does not name any more, however many they are; as `pollbal reload --accept-removals` later'
complete -c pollbal -n "__fish_pollbal_needs_command" -s v -l verbose -d 'Log more; twice for everything'
complete -c pollbal -n "__fish_pollbal_needs_command" -s q -l quiet -d 'Log less: warnings and errors; twice for errors only'
complete -c pollbal -n "__fish_pollbal_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_needs_command" -s V -l version -d 'Print version'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "run" -d 'Poll the nodes and keep the pools true (the default)'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "check" -d 'Read configuration and services file, and say what they mean or what is wrong'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "status" -d 'Show how all stands, with a verdict; exit code 0 for OK, 1 for DEGRADED, 2 for CRITICAL'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "explain" -d 'Tell why a node is in or out, and what would bring it back'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "disable" -d 'Take nodes out for a reason'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "enable" -d 'Take a reason away; a node whose last one it was comes back at its next good answer'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "wait" -d 'Wait until nodes are at rest, or serve'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "nudge" -d 'Poll nodes now'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "members" -d 'Print the members of a pool, a line each'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "events" -d 'Print what happened of late'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "reload" -d 'Read configuration and services file anew; tells what is wrong with them'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "freeze" -d 'Let failures put nobody out until all is thawed'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "thaw" -d 'Take a freeze back'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "roll" -d 'Run a command for each node of a pool while it is out: a rolling deploy'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "leave" -d 'On a node: leave all pools, wait until at rest, then run a command'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l dry-run -d 'Poll for real, change nothing, and print what would be said to Perlbal, and as comments what would be written'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l once -d 'End after the first full round and its sync'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l accept-removals -d 'At the start, remove the nodes that the services file does not name any more, however many they are; as `pollbal reload --accept-removals` later'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s v -l verbose -d 'Log more; twice for everything'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s q -l quiet -d 'Log less: warnings and errors; twice for errors only'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l exit-zero-on -d 'Exit code 0 also at this level: of a probe that must not fail before' -r -f -a "degraded\t'Nodes are down, a file was refused, and the like; not where clients may not be served'
critical\t'Whatever is wrong, as long as pollbal answers'"
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l watch -d 'Show it again whenever it changes, until Ctrl-C; then exit as the last view says'
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand explain" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand explain" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand explain" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand explain" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l reason -d 'The name of the reason, a word of A-Z a-z 0-9 . _ + -; who gives it takes it back by it' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l note -d 'What others should know of it' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l for -d 'Take it back after this time by itself, such as 2h' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l timeout -d 'How long to wait, such as 30s or 10m; then exit code 1' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l force -d 'Also when that takes a pool below its `min_members`, or its last member'
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l wait -d 'Return only when it is so in every Perlbal'
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand disable" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l reason -d 'The name of the reason, as it was given to `pollbal disable`' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l timeout -d 'How long to wait, such as 30s or 10m; then exit code 1' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l leave -d 'Take back the leave that the node was granted, instead of a reason: the node cannot do so itself any more'
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l wait -d 'Return only when it is so in every Perlbal'
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand enable" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l until -d 'What to wait for' -r -f -a "rest\t'Out, and no request under way at it'
serving\t'A member that serves, and every Perlbal was told so'"
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l timeout -d 'How long to wait, such as 30s or 10m; then exit code 1' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand nudge" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand nudge" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand nudge" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand nudge" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand members" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand members" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand members" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand members" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -s n -l limit -d 'How many of the last ones' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -s f -l follow -d 'Go on with what happens, until Ctrl-C, also over a restart of pollbal; with --json an event a line'
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand events" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -l accept-removals -d 'Remove the nodes that the services file does not name any more, however many they are'
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l reason -d 'The name of the reason, a word of A-Z a-z 0-9 . _ + -; who gives it takes it back by it' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l note -d 'What others should know of it' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand freeze" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -l reason -d 'The name of the reason, as it was given to `pollbal freeze`' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand thaw" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l parallel -d 'How many nodes at a time' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l pause -d 'How long to wait after a node before the next' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l timeout -d 'How long each step may take but COMMAND: until the node may go (while no other of this roll is out), is at rest, serves again' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l reason -d 'The name of the reason for which nodes are disabled' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand roll" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l timeout -d 'How long to wait in all, such as 30s or 10m; then exit code 1 [default: none while the node waits for its turn, then 10m, as long as `leave_timeout`]' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l skip-dead -d 'Pass over a load balancer that does not answer for so long [default when no time is given: 60s, more than a restart of pollbal takes]; one that answers that it is busy is waited for' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l from -d 'The node\'s address, where this machine has several' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l port -d 'The node\'s port, where several nodes share this machine\'s address' -r
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l config -d 'The configuration file [default: /etc/pollbal.json]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l socket -d 'The daemon\'s admin socket [default: `admin_socket` of the configuration file, else /run/pollbal/admin.sock]' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l back -d 'Say that the node is back when COMMAND has ended well, so that its next good answers bring it in'
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -l json -d 'Print JSON: the daemon\'s answer as it is; where more than one thing is told, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand leave" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "run" -d 'Poll the nodes and keep the pools true (the default)'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "check" -d 'Read configuration and services file, and say what they mean or what is wrong'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "status" -d 'Show how all stands, with a verdict; exit code 0 for OK, 1 for DEGRADED, 2 for CRITICAL'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "explain" -d 'Tell why a node is in or out, and what would bring it back'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "disable" -d 'Take nodes out for a reason'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "enable" -d 'Take a reason away; a node whose last one it was comes back at its next good answer'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "wait" -d 'Wait until nodes are at rest, or serve'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "nudge" -d 'Poll nodes now'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "members" -d 'Print the members of a pool, a line each'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "events" -d 'Print what happened of late'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "reload" -d 'Read configuration and services file anew; tells what is wrong with them'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "freeze" -d 'Let failures put nobody out until all is thawed'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "thaw" -d 'Take a freeze back'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "roll" -d 'Run a command for each node of a pool while it is out: a rolling deploy'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "leave" -d 'On a node: leave all pools, wait until at rest, then run a command'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check status explain disable enable wait nudge members events reload freeze thaw roll leave help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
