"""The smallest part of a node's log in which the model still decides as the whole log says, where a client was told
otherwise. Every request gets the token that it had in the whole log, so that the same answer is wrong for the same
reason."""

import time

from . import replay
from .model import Model
from .shrink import ddmin


class _Teller(Model):
    """Notes which token each request has got, or gives the one that is @known."""

    def __init__(self, known=None):
        super().__init__()
        self.tokens, self._known = {}, known or {}

    def _take_token(self, made):
        token = super()._take_token(made)
        self.tokens[made] = self._known.get(made, token)
        return self.tokens[made]


class _Log:
    """@records of the snapshot before it; @commands: [(index, time, command, its number)]."""

    def __init__(self, path, until):
        self.records, self.commands = [], []
        model, start = _Teller(), 0
        for line in replay.parsed(path):
            if "record" in line:
                self.records.append(line)
                model.load(line)
            elif "snapshot" in line:
                start = line["snapshot"]
            if line.get("index") == 1:
                model, start, self.records = _Teller(), 0, []
            if line.get("index", 0) <= start:
                continue
            if line["index"] > until:
                break
            for command in line.get("commands", ()):
                model.apply(command, line["time"])
                self.commands.append((line["index"], line["time"], command, model.number))
        self.tokens = model.tokens

    def told(self, commands, index):
        """What the model decides at @index, with these commands only."""
        model, told = _Teller(self.tokens), set()
        for record in self.records:
            model.load(record)
        for at, cluster_time, command, number in commands:
            model.number = number - 1
            decided = model.apply(command, cluster_time)
            if at == index:
                told.update(decided)
        return told


def shrink(directory, violation, answer, seconds=20.0):
    """(entries, how many commands there were, whether nothing more can be left out) for a violation of P15: @answer is
    (index, op, client, lock, result, token, why). Entries of one command each."""
    end = time.monotonic() + seconds
    _name, path = replay.fullest(replay.dumps(directory), violation.index)
    log = _Log(path, violation.index)

    def shows(commands):
        found = []
        try:
            replay.check_answer(answer, log.told(commands, violation.index), found, violation.t)
        except (KeyError, StopIteration):
            return False  # what it speaks of has been left out
        return violation in found
    commands = log.commands
    if not shows(commands):
        return [entry for entry in replay.parsed(path) if entry.get("index") == violation.index], len(commands), True
    actors = {c.get("client") for _i, _t, c, _number in commands if c.get("lock") == violation.lock}
    fewer = [one for one in commands if one[2].get("lock", violation.lock) == violation.lock
             and one[2].get("client") in actors | {None}]
    if shows(fewer):
        commands = fewer
    commands, is_complete = ddmin(commands, shows, end)
    return [{"index": index, "time": cluster_time, "commands": [command]}
            for index, cluster_time, command, _number in commands], len(log.commands), is_complete
