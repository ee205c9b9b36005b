"""Watches the head of a PyTorch model while any training loop trains it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gwa.label_issues import LabelIssues, find_label_issues
from gwa.moment_arithmetic import LABEL_DTYPES, reasons_of_nan
from gwa.rules import MaxGWA, Record, Rule, Verdict
from gwa.rules.dissent import DISSENT, vote
from gwa.torch import head as heads
from gwa.torch.alignment import norm
from gwa.torch.epoch import RunningMoments, SampleRows, compare, summarize
from gwa.torch.forward_pass import ForwardPass, score

_LOG = logging.getLogger(__name__)


class AlignmentMonitor:
    """Scores every training sample from the forward passes of training, and judges the epochs by a stopping rule.

    A forward pass counts if the head is in training mode and gradients are on, so passes of an evaluation do not count.
    Call `update(labels)` after each pass, or after several. It does not matter whether that is before or after the
    optimiser's step: the scores are those of the weights that the pass used. With DistributedDataParallel every process
    has its own monitor, and `end_epoch` joins them. Nothing waits for the device until then.

    Samples whose label is below 0 are left out. Every other one counts: if its score is NaN, because the forward pass
    was not finite or because its label is `classes` or above, the epoch has no GWA, and the record says so.

    Attributes:
      head_name: dotted name of the head in the model.
      history: the records of the epochs so far.
      verdict: of the rule after the latest epoch: `best_epoch` (None if no epoch is eligible yet) and `stop`.
      samples: with `num_examples`, `alignment` float32 `[N]` and `prediction` int32 `[N]` of the latest epoch, by row;
        a row that did not occur has NaN and −1.
      updates: how many updates there were.

    Example:
      >>> import torch
      >>> from gwa.torch import AlignmentMonitor
      >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
      >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
      >>> images, labels = torch.randn(30, 4), torch.arange(30) % 3
      >>> monitor = AlignmentMonitor(model, head="2", epochs=2)
      >>> for epoch in range(2):
      ...     torch.nn.functional.cross_entropy(model(images), labels).backward()
      ...     optimizer.step()
      ...     monitor.update(labels)
      ...     record = monitor.end_epoch()
      >>> [record["epoch"] for record in monitor.history], monitor.verdict.stop
      ([1, 2], False)
    """

    def __init__(
        self,
        model: nn.Module,
        head: nn.Module | str | None = None,
        rule: Rule | None = None,
        num_examples: int | None = None,
        epochs: int | None = None,
        keep_samples: bool = False,
    ):
        """Hooks the head. A compiled model must not have run before.

        Args:
          model: the model, or what `torch.compile` or DistributedDataParallel returned for it.
          head: the `nn.Linear` whose outputs are the logits, or its dotted name; by default the last one.
          rule: decides which epoch to keep; by default `gwa.MaxGWA()`, without warm-up if `epochs` is not given.
          num_examples: size of the training set, if updates come with row numbers.
          epochs: how many are planned; rules that skip the start of training need this.
          keep_samples: keep `samples` of every epoch, for `find_label_issues`; 8 bytes per sample and epoch.

        Raises:
          ValueError: when the score is not defined for this head, the rule needs `epochs`, or `num_examples` is missing
            where single samples are compared or kept.
        """
        for name, number in (("epochs", epochs), ("num_examples", num_examples)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, not {number}")
        if rule is not None and not isinstance(rule, Rule):
            raise ValueError(f"rule must be a rule such as gwa.MaxGWA(), not {rule!r}")
        if rule is None:
            rule = MaxGWA() if epochs else MaxGWA(warmup=0.0)
        if rule.warmup and not epochs:
            raise ValueError(f"epochs must be given: the rule {rule.name} skips the first {rule.warmup:.0%} of them")
        self._needs_past = bool({*DISSENT} & {*rule.needs})
        if num_examples is None and {*DISSENT, "prediction_changes", "prediction_churn"} & {*rule.needs}:
            raise ValueError(f"num_examples must be given: the rule {rule.name} compares each sample with its past")
        if keep_samples and num_examples is None:
            raise ValueError("num_examples must be given: keep_samples keeps the scores of each row")
        self.head_name, self._head = heads.find(model, head)
        self.rule, self._epochs, self._num_examples = rule, epochs, num_examples
        self.history: list[Record] = []
        self.samples: dict[str, np.ndarray] = {}
        self.verdict = Verdict(None, False)
        self.updates = self._updates_before = 0
        self._kept: list[dict[str, np.ndarray]] | None = [] if keep_samples else None
        self._rule_state = rule.init()
        self._predictions: list[np.ndarray] = []  # of the epochs so far, if the rule needs them
        self._past: Tensor | None = None
        self._passes: list[ForwardPass] = []
        self._epoch = self._new_epoch()
        self._handle = self._head.register_forward_hook(self._keep_pass, with_kwargs=True)

    @torch.no_grad()
    def update(self, labels: ArrayLike | Tensor, index: ArrayLike | Tensor | None = None) -> None:
        """Scores the samples of the forward passes since the last update.

        Args:
          labels: integers `[...]`, class indices, where a negative one (such as the −100 that cross-entropy ignores)
            excludes its sample; or floats `[..., classes]`, target distributions. They are those of the loss, so after
            mixup the mixed ones.
          index: integers `[batch]`, the rows of the samples; required with `num_examples`, and only then allowed.

        Raises:
          ValueError: when the head has not run, or has run on other samples than these; or `index` has other numbers
            than those of rows. Then nothing is scored, and a corrected call may follow.
        """
        passes = self._passes
        if not passes:
            raise ValueError(
                f"update: the head {self.head_name!r} has not run since the last update, in training mode and with "
                "gradients on (make the monitor before a compiled model runs for the first time)"
            )
        if (index is None) != (self._num_examples is None):
            raise ValueError("update: index and the monitor's num_examples belong together; give both or neither")
        labels = torch.as_tensor(labels, device=passes[0].logits.device)
        self._check_labels(labels, passes)
        sizes = [len(each.logits) for each in passes]
        rows: Iterable[Tensor | None] = [None] * len(passes)
        if index is not None:
            rows = self._check_index(torch.as_tensor(index), labels).split(sizes)
        self._passes = []
        for each, targets, part in zip(passes, labels.split(sizes), rows, strict=True):
            past = None if self._past is None else self._past[part]
            self._epoch.add(score(each, targets, past), part)
        self.updates += 1

    def discard(self) -> None:
        """Forgets the forward passes since the last update, whose samples then do not count in this epoch."""
        self._passes = []

    def end_epoch(self, partial: bool = False, epoch: int | None = None, **fields: Any) -> dict[str, Any]:
        """Ends the epoch and asks the rule. Call it on every process of a distributed run; all get the same record.

        Args:
          partial: whether this monitor has not seen the whole epoch, so that no rule may keep it. The record then has
            `partial`, which is true.
          epoch: its number, where the loop counts the epochs; by default the one after the epoch before.
          fields: further fields of the record, such as `train_loss` or `test_accuracy`.

        Returns:
          The record of the epoch: `epoch` (from 1), `progress`, `train_accuracy`, `gwa`, `alignment_mean`,
          `alignment_variance`, `excess_kurtosis`, `num_samples` (how many were scored), `non_finite_alignments` (how
          many of them), `prediction_changes` and `prediction_churn` since the epoch before (both only with
          `num_examples`), and `fields`. Unknown values are None; undefined values are None, with the reason under
          `reasons`.

        Raises:
          ValueError: when no sample was scored, no update followed a forward pass, or `fields` has what is measured.
        """
        if self._passes:
            raise ValueError(
                f"end_epoch: {len(self._passes)} forward passes in training mode came after the last update; "
                "call update(labels) after each, and use torch.no_grad() for forward passes that are not training"
            )
        moments, accuracy, samples, dissent = self._epoch.finish()
        if not moments.count:
            ran = self.updates > self._updates_before
            why = "no label was 0 or above" if ran else "update(labels) has not run"
            raise ValueError(f"end_epoch: no sample was scored; {why} ({self.head_name!r})")
        self._updates_before = self.updates
        measured = summarize(moments) | compare(self.samples, samples) | {"train_accuracy": accuracy}
        if given := sorted({*measured, *DISSENT} & {*fields}):
            raise ValueError(f"end_epoch: {', '.join(given)} are measured here; leave them out")
        if epoch is None:
            epoch = self.history[-1]["epoch"] + 1 if self.history else 1
        record = {
            "epoch": epoch,
            "progress": epoch / self._epochs if self._epochs else None,
            **measured,
            **({"partial": True} if partial else {}),
            **fields,
        }
        if self._needs_past:
            values: Iterable[float | None] = (None, None) if self._past is None else dissent
            record |= zip(("dissent", "hard_dissent"), values, strict=True)
            self._vote(samples["prediction"])
        reasons = reasons_of_nan(record)
        if reasons:
            record |= {**dict.fromkeys(reasons), "reasons": reasons}
        self._epoch, self.samples = self._new_epoch(), samples
        if self._kept is not None:
            self._kept.append(samples)
        self._judge(record)
        return record

    def find_label_issues(self, labels: ArrayLike | Tensor, share: float | None = None) -> LabelIssues:
        """Ranks the labels by how suspect they are and flags those that stand apart; see `gwa.find_label_issues`.

        All epochs count that this monitor has ended itself, but not those that `resume` was given.

        Args:
          labels: integers `[N]`, the given labels by row.
          share: flag this share of the labels, the most suspicious ones.

        Raises:
          ValueError: when the monitor was made without `keep_samples`, no epoch has ended, or the labels have another
            shape.
        """
        if not self._kept:
            raise ValueError("find_label_issues: no epoch is kept; make the monitor with keep_samples=True and train")
        alignment, predictions = (np.stack([kept[name] for kept in self._kept]) for name in ("alignment", "prediction"))
        return find_label_issues(alignment, torch.as_tensor(labels).cpu().numpy(), predictions, share)

    def resume(self, history: Iterable[Mapping[str, Any]], predictions: Iterable[np.ndarray] = ()) -> None:
        """Continues after an earlier start, which left these records.

        Args:
          history: the records.
          predictions: `samples["prediction"]` of the same epochs; only rules on dissent need them.

        Raises:
          ValueError: when the rule needs predictions, and there are not as many as records.
        """
        for record in history:
            self._judge(dict(record))
        if self._needs_past:
            for prediction in predictions:
                self._vote(prediction)
            if len(self._predictions) != len(self.history):
                raise ValueError(
                    f"resume: the rule {self.rule.name} needs the predictions of {len(self.history)} epochs, not of "
                    f"{len(self._predictions)}"
                )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs so that `load_state_dict` continues, also within an epoch; lists and tensors.

        Call it on every process of a distributed run, between `update` and the next forward pass: samples that were
        not scored yet are not part of it.
        """
        kept = self._kept or ([self.samples] if self.samples else [])
        return {
            "history": list(self.history),
            "samples": [{name: torch.tensor(values) for name, values in samples.items()} for samples in kept],
            "predictions": [torch.tensor(prediction) for prediction in self._predictions],
            "epoch": self._epoch.state_dict(),
            "keep_samples": self._kept is not None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state_dict` was called; for a monitor that was made with the same arguments.

        Raises:
          ValueError: when this monitor has seen epochs, or the state is not of one that was made with the same
            arguments.
        """
        if self.history:
            raise ValueError(f"load_state_dict: this monitor has seen {len(self.history)} epochs; load into a new one")
        samples = [{name: values.numpy() for name, values in each.items()} for each in state.get("samples", ())]
        self._check_state(state, samples)
        self.resume(state["history"], [prediction.numpy() for prediction in state.get("predictions", ())])
        self.samples = samples[-1] if samples else {}
        if self._kept is not None:
            self._kept = samples
        if "epoch" in state:
            self._epoch.load_state_dict(state["epoch"])

    def remove(self) -> None:
        """Removes the hook from the model; history and verdict stay."""
        self._handle.remove()

    def _keep_pass(self, head: nn.Linear, args: tuple[Any, ...], kwargs: dict[str, Any], logits: Tensor) -> None:
        if not (head.training and torch.is_grad_enabled()):
            return
        embeddings = args[0] if args else kwargs["input"]
        # The optimiser changes the parameters in place, so copy now what the scores need.
        bias = None if head.bias is None else head.bias.detach().clone()
        weight_norm = norm(head.weight.detach().float())
        self._passes.append(ForwardPass(logits.detach(), embeddings.detach(), weight_norm, bias))

    def _check_labels(self, labels: Tensor, passes: list[ForwardPass]) -> None:
        logits = passes[0].logits
        seen = (sum(len(each.logits) for each in passes), *logits.shape[1:-1])
        wanted = (*seen, logits.shape[-1]) if labels.is_floating_point() else seen
        if tuple(labels.shape) != wanted:
            raise ValueError(
                f"update: {'float' if labels.is_floating_point() else 'integer'} labels have the shape "
                f"{tuple(labels.shape)}; it must be {wanted}, as the head {self.head_name!r} has run on {seen} samples "
                f"since the last update, of {logits.shape[-1]} classes ({LABEL_DTYPES}; discard() forgets these)"
            )

    def _check_index(self, index: Tensor, labels: Tensor) -> Tensor:
        """The rows as int64 beside the labels; negative ones on an accelerator are found when the epoch ends."""
        if index.is_floating_point() or index.dtype == torch.bool:
            raise ValueError(f"update: index is {index.dtype}; it must be the integer numbers of rows")
        if index.shape != labels.shape[:1] or (labels.ndim > 1 and not labels.is_floating_point()):
            raise ValueError(
                f"update: index has the shape {tuple(index.shape)}, labels {tuple(labels.shape)}; it must be one row "
                "for each sample"
            )
        if index.device.type == "cpu" and len(index):
            lowest, highest = int(index.min()), int(index.max())
            if lowest < 0 or highest >= self._num_examples:  # type: ignore[operator]  # given, as index is
                raise ValueError(f"update: index has rows {lowest} to {highest}, of num_examples={self._num_examples}")
        return index.to(labels.device).long()

    def _check_state(self, state: Mapping[str, Any], samples: list[dict[str, np.ndarray]]) -> None:
        if "history" not in state:
            raise ValueError("load_state_dict: this is no state of an AlignmentMonitor; it has no history")
        rows = {len(each["alignment"]) for each in samples}
        rows |= {len(state["epoch"]["alignment"])} if "alignment" in state.get("epoch", {}) else set()
        if rows - {self._num_examples} or ("epoch" in state and bool(rows) != (self._num_examples is not None)):
            saved = f"num_examples={next(iter(rows))}" if rows else "no num_examples"
            raise ValueError(f"load_state_dict: the state was saved with {saved}, not {self._num_examples}")
        if self._kept is not None and not state.get("keep_samples", len(samples) == len(state["history"])):
            raise ValueError("load_state_dict: the state was saved without keep_samples; it has no earlier scores")

    def _new_epoch(self) -> RunningMoments | SampleRows:
        device = self._head.weight.device
        return RunningMoments(device) if self._num_examples is None else SampleRows(self._num_examples, device)

    def _vote(self, prediction: np.ndarray) -> None:
        self._predictions.append(prediction)
        past = vote(np.stack(self._predictions), self._head.out_features)
        self._past = torch.as_tensor(past, device=self._head.weight.device)

    def _judge(self, record: Record) -> None:
        if not self.history and (missing := [field for field in self.rule.needs if field not in record]):
            _LOG.warning(
                "the rule %s reads %s, which the first record lacks; pass it to end_epoch, or no epoch is kept",
                self.rule.name,
                " and ".join(missing),
            )
        self.history.append(record)
        self._rule_state, self.verdict = self.rule.update(self._rule_state, record)
