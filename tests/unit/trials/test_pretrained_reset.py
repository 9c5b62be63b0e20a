"""A reset model has its pretrained weights, whatever an earlier trial did to them, and frozen ones are left alone."""

import torch
from transformers import BertConfig, BertForSequenceClassification

from luthier.trials.model.pretrained import Pretrained

HEAD = ("classifier.weight", "classifier.bias")


def loaded() -> Pretrained:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    model = BertForSequenceClassification(config)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    pristine = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    return Pretrained(model, None, frozenset(HEAD), pristine, [])


def check(pretrained: Pretrained) -> None:
    """Reset, and compare with the pretrained weights; the head is another one for another seed."""
    pretrained.reset(3)
    head = pretrained.model.classifier.weight.detach().clone()
    for name, parameter in pretrained.model.named_parameters():
        assert name in HEAD or torch.equal(parameter, pretrained.pristine[name]), name
    assert not torch.equal(head, pretrained.pristine[HEAD[0]])


def trained(pretrained: Pretrained, frozen: str) -> None:
    """Take a fused step on all that does not begin with a name."""
    for name, parameter in pretrained.model.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    torch.optim.AdamW([p for p in pretrained.model.parameters() if p.requires_grad], lr=0.1, fused=True).step()


def test_trained_weights_come_back_though_fused_steps_leave_no_trace() -> None:
    pretrained = loaded()
    for frozen in ("bert.embeddings", "bert", "bert.encoder.layer.0", "-"):
        pretrained.reset(1)
        trained(pretrained, frozen)
        check(pretrained)


def test_frozen_weights_are_not_copied_again() -> None:
    pretrained = loaded()
    pretrained.reset(1)
    trained(pretrained, "bert")
    versions = {name: parameter._version for name, parameter in pretrained.model.named_parameters()}
    pretrained.reset(2)
    copied = {name for name, parameter in pretrained.model.named_parameters() if parameter._version != versions[name]}
    assert copied == set(HEAD)


def test_frozen_weights_that_code_changed_come_back() -> None:
    pretrained = loaded()
    pretrained.reset(1)
    trained(pretrained, "bert")
    with torch.no_grad():
        pretrained.model.bert.pooler.dense.weight.mul_(2.0)
    check(pretrained)


def test_weights_that_adapters_were_merged_into_come_back() -> None:
    pretrained = loaded()
    pretrained.reset(1)
    trained(pretrained, "bert")
    block = pretrained.model.bert.encoder.layer[0].output
    pretrained.replaced.append((block, "dense", block.dense))
    block.dense.weight.data += 1.0  # as peft merges, which torch does not count
    pretrained.put_back()
    check(pretrained)
