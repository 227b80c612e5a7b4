# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pollbal_global_optspecs
    string join \n config= dry-run once v/verbose q/quiet h/help V/version
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

complete -c pollbal -n "__fish_pollbal_needs_command" -l config -d 'The configuration file' -r -F
complete -c pollbal -n "__fish_pollbal_needs_command" -l dry-run -d 'Poll for real, change nothing, and print what would be said to Perlbal, and as comments what would be written'
complete -c pollbal -n "__fish_pollbal_needs_command" -l once -d 'End after the first full round and its sync'
complete -c pollbal -n "__fish_pollbal_needs_command" -s v -l verbose -d 'Log more; twice for everything'
complete -c pollbal -n "__fish_pollbal_needs_command" -s q -l quiet -d 'Log less: warnings and errors; twice for errors only'
complete -c pollbal -n "__fish_pollbal_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pollbal -n "__fish_pollbal_needs_command" -s V -l version -d 'Print version'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "run" -d 'Poll the nodes and keep the pools true (the default)'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "check" -d 'Read configuration and services file, and say what they mean or what is wrong'
complete -c pollbal -n "__fish_pollbal_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l config -d 'The configuration file' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l dry-run -d 'Poll for real, change nothing, and print what would be said to Perlbal, and as comments what would be written'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -l once -d 'End after the first full round and its sync'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s v -l verbose -d 'Log more; twice for everything'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s q -l quiet -d 'Log less: warnings and errors; twice for errors only'
complete -c pollbal -n "__fish_pollbal_using_subcommand run" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l dry-run -d 'Poll for real, change nothing, and print what would be said to Perlbal, and as comments what would be written'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -l once -d 'End after the first full round and its sync'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -s v -l verbose -d 'Log more; twice for everything'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -s q -l quiet -d 'Log less: warnings and errors; twice for errors only'
complete -c pollbal -n "__fish_pollbal_using_subcommand check" -s h -l help -d 'Print help'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check help" -f -a "run" -d 'Poll the nodes and keep the pools true (the default)'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check help" -f -a "check" -d 'Read configuration and services file, and say what they mean or what is wrong'
complete -c pollbal -n "__fish_pollbal_using_subcommand help; and not __fish_seen_subcommand_from run check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
