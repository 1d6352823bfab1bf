"""The launch section of a recipe: on which machines ranks run. It changes where the work is done, never what comes out."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, PositiveInt, model_validator

from pipeline.sections.base import Section

HOST = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # no leading dash: ssh would take it for an option
Hosts = Annotated[str, Field(pattern=rf"^{HOST}:[1-9][0-9]*(,{HOST}:[1-9][0-9]*)*$")]
Interface = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,15}$")]


class Elastic(Section):
    """What happens when ranks or hosts are lost: go on from the last checkpoint with those that are left."""

    min_ranks: PositiveInt = 1  # with fewer, wait for hosts to come back
    wait_s: PositiveInt = 600  # for so long; then the job fails
    discovery: str | None = None  # an executable that prints a host:slots a line; without it, launch.hosts or this machine
    cooldown_s: PositiveInt = 60  # a place whose rank was lost is not used again for so long, and not before its host answers


class Launch(Section):
    """Nothing said: `train.ranks` ranks on this machine. `hosts`: over ssh. `spark`: inside the executors of spark-submit's cluster."""

    hosts: Hosts | None = None  # a:4,b:4 means ranks 0-3 on a and 4-7 on b; localhost needs no ssh
    spark: bool = False
    interfaces: tuple[Interface, ...] = ()  # of the network between hosts; every machine binds the first of these that it has
    ssh_config: str | None = None  # a file for `ssh -F`: user, port, key, known hosts; without it, the user's own
    elastic: Elastic | None = None
    pin: bool = False  # keep every rank on cores of its own; for a machine that has nothing else to do
    autotune: bool = False  # let Horovod look for its fusion size and cycle time while it trains

    @property
    def slots(self) -> list[tuple[str, int]]:
        """Hosts and how many ranks each takes, in order; empty where ranks run on this machine or in Spark."""
        pairs = [item.rsplit(":", 1) for item in (self.hosts or "").split(",") if item]
        return [(name, int(count)) for name, count in pairs]

    @model_validator(mode="after")
    def is_one_place(self) -> Self:
        names = [name for name, _ in self.slots]
        if self.hosts and self.spark:
            raise ValueError("ranks run either on hosts or in Spark's executors; leave one of launch.hosts and launch.spark out")
        if len(set(names)) < len(names):
            raise ValueError(f"launch.hosts={self.hosts} names a host twice; write each once, with all its ranks")
        if "localhost" in names and len(names) > 1:
            raise ValueError(f"launch.hosts={self.hosts}: other hosts cannot reach localhost; write this machine's name on their network")
        if (self.spark or set(names) - {"localhost"}) and not self.interfaces:
            raise ValueError("ranks on other machines need launch.interfaces: the network between them by name, such as [eth0]")
        if self.spark and self.pin:
            raise ValueError("launch.pin goes with ranks here or over hosts; in Spark, executors share cores as the cluster says")
        if self.spark and self.elastic is not None:
            raise ValueError("launch.elastic goes with ranks here or over hosts; in Spark, a job that fails is submitted again")
        return self


def count_ranks(values: Any) -> Any:
    """A recipe as it was written, with the ranks that its launch.hosts have room for where it does not say how many."""
    if not isinstance(values, dict) or not isinstance(values.get("launch"), dict) or not isinstance(values.get("train", {}), dict):
        return values
    hosts, train = values["launch"].get("hosts"), values.get("train", {})
    if "ranks" in train or not isinstance(hosts, str):
        return values
    counts = [item.rpartition(":")[2] for item in hosts.split(",")]
    if not all(count.isdecimal() and count.isascii() for count in counts):  # told by the section itself
        return values
    return {**values, "train": {**train, "ranks": sum(map(int, counts))}}
