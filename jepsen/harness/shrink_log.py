"""The smallest part of a node's log in which the model still decides as the whole log says, where a client was told
otherwise. An entry that is left out still counts for tokens: each command is replayed with the next token that it
had in the whole log, so that the same answer is wrong for the same reason."""

import time

from . import replay
from .model import Model
from .shrink import ddmin


class _Log:
    """@records of the snapshot before it; @commands: [(index, time, command, token before it)]."""

    def __init__(self, path, until):
        self.records, self.commands, self.entries = [], [], 0
        model, start = Model(), 0
        for line in replay.parsed(path):
            if "record" in line:
                self.records.append(line)
                model.load(line)
            elif "snapshot" in line:
                start = line["snapshot"]
            if line.get("index") == 1:
                model, start, self.records = Model(), 0, []
            if line.get("index", 0) <= start:
                continue
            if line["index"] > until:
                break
            self.entries += 1
            for command in line.get("commands", ()):
                self.commands.append((line["index"], line["time"], command, model.token))
                model.apply(command, line["time"])

    def told(self, commands, index):
        """What the model decides at @index, with these commands only."""
        model, told = Model(), set()
        for record in self.records:
            model.load(record)
        for at, cluster_time, command, token in commands:
            model.token = token
            decided = model.apply(command, cluster_time)
            if at == index:
                told.update(decided)
        return told


def shrink(directory, violation, answer, seconds=20.0):
    """(entries, how many there were, whether nothing more can be left out) for a violation of P15: @answer is
    (index, op, client, lock, result, token, why)."""
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
    commands, is_complete = log.commands, True
    if not shows(commands):
        return [entry for entry in replay.parsed(path) if entry.get("index") == violation.index], log.entries, True
    actors = {c.get("client") for _i, _t, c, _token in commands if c.get("lock") == violation.lock}
    fewer = [one for one in commands if one[2].get("lock", violation.lock) == violation.lock
             and one[2].get("client") in actors | {None}]
    if shows(fewer):
        commands = fewer
    commands, is_complete = ddmin(commands, shows, end)
    return [{"index": index, "time": cluster_time, "commands": [command]}
            for index, cluster_time, command, _token in commands], log.entries, is_complete
