"""completion: a script for bash or zsh, made from the table of commands."""

from rkllmd.cli.ctl.command import Command, Context
from rkllmd.cli.ctl.table import COMMANDS

GLOBAL = ("--json", "--socket", "--help")

BASH = """\
# Completion of rkllmctl, made by `rkllmctl completion {shell}`.
_rkllmctl() {{
    local word words typed="" index
    word=${{COMP_WORDS[COMP_CWORD]}}
    for ((index = 1; index < COMP_CWORD; index++)); do
        [[ ${{COMP_WORDS[index]}} == -* ]] || typed+="${{typed:+ }}${{COMP_WORDS[index]}}"
    done
    case $typed in
{cases}
    *) words="{options}" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [[ ${{#COMPREPLY[@]}} -gt 0 ]] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -F _rkllmctl rkllmctl
"""
ZSH_HEAD = "autoload -U +X bashcompinit && bashcompinit\n"


def completion(context: Context) -> None:
    """Write the script."""
    shell = context.options.shell
    script = (ZSH_HEAD if shell == "zsh" else "") + BASH.format(
        shell=shell, cases="\n".join(_cases()), options=" ".join(GLOBAL)
    )
    if context.screen.as_json:
        context.screen.json({"shell": shell, "script": script})
    else:
        context.screen.line(script.rstrip())


def _cases() -> list[str]:
    groups: dict[str, list[str]] = {"": []}
    for command in COMMANDS:
        group, _, name = command.words.rpartition(" ")
        if group and group not in groups:
            groups[""].append(group)
            groups[group] = []
        groups[group].append(name)
    following = {group: " ".join(names) for group, names in groups.items()}
    following |= {command.words: " ".join(_options(command)) for command in COMMANDS}
    return [
        f'    "{typed}"{"*" if " " in typed or typed not in groups else ""}) words="{words}" ;;'
        for typed, words in sorted(following.items(), reverse=True)
    ]


def _options(command: Command) -> list[str]:
    found = [name for one in command.arguments for name in one.names if name.startswith("-")]
    found += [str(choice) for one in command.arguments for choice in one.more.get("choices", ())]
    return [*found, *GLOBAL]
