# fish completion of netlock(1). Commands and options come from the program itself.

# The words of the command so far, or nothing.
function __netlock_command
    set -l commands (netlock complete 2>/dev/null | string replace -r '\t.*' '')
    set -l found -
    set -l words
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $word
            # The value of an option is no command.
            netlock complete (string split ' ' -- $found) 2>/dev/null | string match -q -- "$word="; and set skip 1
        else
            set -a words $word
            contains -- "$words" $commands; and set found "$words"
        end
    end
    echo $found
end

function __netlock_options
    netlock complete (string split ' ' -- (__netlock_command)) 2>/dev/null | string trim --right --chars '='
end

# Commands of two words are offered word by word.
function __netlock_commands
    set -l words (string match -v -- '-*' (commandline -opc)[2..])
    if test (count $words) = 0
        netlock complete 2>/dev/null | string replace -r '^(\S+) \S+' '$1'
    else
        netlock complete 2>/dev/null | string replace -rf "^$words[1] " ''
    end
end

complete -c netlock -n 'test (__netlock_command) = -' -f -a '(__netlock_commands)'
complete -c netlock -n 'string match -q -- "-*" (commandline -ct)' -f -a '(__netlock_options)'
