"""Which layer the monitor takes for the head, and which it refuses."""

import pytest

torch = pytest.importorskip("torch")
from torch_process import Network, batches  # noqa: E402

gwa_torch = pytest.importorskip("gwa.torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.torch


class CosineHead(nn.Linear):
    def forward(self, embeddings):
        return 16 * F.linear(F.normalize(embeddings), F.normalize(self.weight))


class MarginHead(nn.Linear):
    def forward(self, embeddings, labels):
        return super().forward(embeddings) - 0.3 * F.one_hot(labels, self.out_features)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lm_head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        self.lm_head.weight = self.embed.weight


HEADS = {
    "no such name": (Network(), "head", r"no module 'head'; its last nn.Linear: hidden, fc"),
    "a module of another model": (Network(), Network().fc, "is no part of the Network"),
    "none at all": (nn.Sequential(nn.Conv2d(1, 2, 3)), None, "has no nn.Linear"),
    "no linear layer": (nn.Sequential(nn.Conv2d(1, 2, 3)), "0", r"'0' is a torch\..*\.Conv2d"),
    "a cosine head": (nn.Sequential(CosineHead(8, 4)), None, "a CosineHead, does not return x @ weight.T"),
    "a margin head": (nn.Sequential(MarginHead(8, 4)), None, "a MarginHead, does not return x @ weight.T"),
    "tied weights": (Tied(), "lm_head", "weight of 'lm_head' is tied to that of 'embed'"),
    "one output": (nn.Sequential(nn.Linear(8, 1)), None, "1 output; the score needs at least 2"),
    "no size yet": (nn.Sequential(nn.LazyLinear(4)), None, "no size before its first forward pass"),
    "copies": (nn.DataParallel(Network()), "fc", "use DistributedDataParallel"),
}


@pytest.mark.parametrize("case", HEADS)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_head_without_a_score_is_refused_in_one_line(case):
    model, head, message = HEADS[case]
    with pytest.raises(ValueError, match=message) as error:
        gwa_torch.AlignmentMonitor(model, head)
    assert "\n" not in str(error.value)


def test_the_head_that_peft_trains_is_found_by_its_name():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.LoraConfig(target_modules=["hidden"], modules_to_save=["fc"], r=2)
    model = peft.get_peft_model(Network(), config)
    wrapper = model.base_model.model.fc
    ((images, labels),) = batches(1)
    for head in ("fc", wrapper, None):
        monitor = gwa_torch.AlignmentMonitor(model, head)
        assert monitor.head_name == "base_model.model.fc.modules_to_save.default"
        logits = model(images)
        monitor.update(labels)
        copy = wrapper.modules_to_save["default"]
        embeddings = model.base_model.model.hidden(images).relu()
        expected = gwa_torch.head_alignment(logits, labels, embeddings, copy.weight.T, copy.bias)
        assert monitor.end_epoch()["alignment_mean"] == pytest.approx(float(expected.mean()), abs=1e-6)
        monitor.remove()
    with pytest.raises(ValueError, match=r"'base_model.model.hidden' is a peft\..*Linear; the score is defined for"):
        gwa_torch.AlignmentMonitor(model, "hidden")


def test_a_name_that_fits_several_modules_is_refused():
    model = nn.ModuleDict({"a": Network(), "b": Network()})
    with pytest.raises(ValueError, match=r"several modules 'fc': a.fc, b.fc"):
        gwa_torch.AlignmentMonitor(model, "fc")
    assert gwa_torch.AlignmentMonitor(model, "b.fc").head_name == "b.fc"


@pytest.mark.parametrize("head", ["fc", 1])
def test_the_head_is_found_by_name_or_module(head):
    model = Network()
    monitor = gwa_torch.AlignmentMonitor(nn.Sequential(model), model.fc if head == 1 else "0.fc")
    assert monitor.head_name == "0.fc"
