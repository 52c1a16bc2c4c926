# bash completion of netlock(1). Commands and options come from the program itself.

_netlock_commands()
{
    netlock complete 2>/dev/null | cut -f 1
}

_netlock()
{
    local cur=${COMP_WORDS[COMP_CWORD]} commands words="" options=- i
    commands=$(_netlock_commands)
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --) return ;;
        -*)
            # The value of an option is no command.
            netlock complete "$options" 2>/dev/null | grep -qx -- "${COMP_WORDS[i]}=" && ((i++))
            [[ ${COMP_WORDS[i]} == = ]] && ((i++))
            ;;
        =) ((i++)) ;;
        *)
            words="$words${words:+ }${COMP_WORDS[i]}"
            if grep -qx -- "$words" <<<"$commands"; then
                options=$words
            fi
            ;;
        esac
    done
    if [[ $cur == -* ]]; then
        # shellcheck disable=SC2086 # a command may have two words
        mapfile -t COMPREPLY < <(compgen -W "$(netlock complete $options 2>/dev/null | tr -d =)" -- "$cur")
    elif [[ $options == - ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(sed -n "s/^$words${words:+ }//p" <<<"$commands" | cut -d ' ' -f 1)" -- "$cur")
    else
        compopt -o default
    fi
}
complete -F _netlock netlock
