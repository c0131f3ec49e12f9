"""Writes decoder.json and decoder.safetensors: what PyTorch makes of tiny decoders.

    python decoder.py          # PyTorch 2, safetensors

For each variant the initial weights, the gradients of the first batch and the losses of the first 50 batches under
several optimisers, without dropout; under `smoothed`, SGD with label smoothing. The batches are taken in turn, again and again.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

D, E, H, V = 12, 8, 10, 23
STEPS = 50
START, END = 1, 2
IGNORE = -100

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.5),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.001),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adam-clipped": lambda p: torch.optim.Adam(p, lr=0.01),
    "smoothed": lambda p: torch.optim.SGD(p, lr=0.5),
}
CLIP = 0.25
SMOOTHING = 0.1


class Decoder(nn.Module):
    def __init__(self, cell="lstm", bias=True, tanh=True, layers=1, tied=False):
        super().__init__()
        self.tanh = tanh
        embed = H if tied else E
        self.image = nn.Linear(D, embed if cell == "lstm" else H)
        self.embedding = nn.Embedding(V, embed)
        if cell == "lstm":
            self.lstm = nn.LSTM(embed, H, layers, batch_first=True, bias=bias)
        else:
            self.rnn = nn.RNN(embed, H, layers, batch_first=True, nonlinearity="relu")
        self.output = nn.Linear(H, V)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, features, words):
        image, x = self.image(features), self.embedding(words)
        if hasattr(self, "rnn"):
            return self.output(self.relu_rnn(image, x))
        x = torch.cat([image.unsqueeze(1), x], 1)
        h = self.lstm(x)[0] if self.tanh else self.lstm_without_tanh(x)
        return self.output(h[:, 1:])

    def relu_rnn(self, image, x):
        r = self.rnn
        for layer in range(r.num_layers):
            w_ih, w_hh, b_ih, b_hh = (
                getattr(r, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            h, out = torch.zeros(len(x), H), []
            for t in range(x.shape[1]):
                pre = F.linear(x[:, t], w_ih, b_ih) + F.linear(h, w_hh, b_hh)
                h = torch.relu(pre + image if t == 0 and layer == 0 else pre)
                out.append(h)
            x = torch.stack(out, 1)
        return x

    def lstm_without_tanh(self, x):
        r, h, c, out = self.lstm, torch.zeros(len(x), H), torch.zeros(len(x), H), []
        b = (r.bias_ih_l0, r.bias_hh_l0) if r.bias else (None, None)
        for t in range(x.shape[1]):
            pre = F.linear(x[:, t], r.weight_ih_l0, b[0]) + F.linear(h, r.weight_hh_l0, b[1])
            i, f, g, o = pre.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c
            out.append(h)
        return torch.stack(out, 1)


VARIANTS = {
    "lstm": {},
    "lstm-plain": {"bias": False, "tanh": False},  # Show and Tell's
    "lstm-no-bias": {"bias": False},
    "lstm-no-tanh": {"tanh": False},
    "rnn": {"cell": "rnn"},
    "lstm-2": {"layers": 2},
    "rnn-2": {"cell": "rnn", "layers": 2},
    "lstm-tied": {"tied": True},
}


def loss_of(model, features, captions, smoothing=0.0):
    longest = max(map(len, captions)) + 1
    words = torch.zeros(len(captions), longest, dtype=torch.long)
    targets = torch.full((len(captions), longest), IGNORE)
    for row, caption in enumerate(captions):
        n = len(caption) + 1
        words[row, :n] = torch.tensor([START] + caption)
        targets[row, :n] = torch.tensor(caption + [END])
    logits = model(features, words).flatten(0, 1)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORE, label_smoothing=smoothing)


def train(model, optimizer, batches):
    optimizer_of, losses = OPTIMIZERS[optimizer](model.parameters()), []
    for step in range(STEPS):
        loss = loss_of(model, *batches[step % len(batches)], SMOOTHING if optimizer == "smoothed" else 0.0)
        optimizer_of.zero_grad()
        loss.backward()
        if optimizer == "adam-clipped":
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer_of.step()
        losses.append(loss.item())
    return losses


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    lengths = [[3, 7, 0, 5], [1, 9, 4, 4], [6, 2, 11, 5]]
    captions = [[torch.randint(3, V, (n,)).tolist() for n in batch] for batch in lengths]
    features = [torch.rand(len(batch), D) for batch in lengths]
    batches = list(zip(features, captions))

    tensors = {f"features.{i}": f for i, f in enumerate(features)}
    losses = {}
    for variant, arguments in VARIANTS.items():
        model = Decoder(**arguments)
        initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        loss_of(model, *batches[0]).backward()
        for name, parameter in model.named_parameters():
            tensors[f"{variant}/weights/{name}"] = initial[name]
            tensors[f"{variant}/gradients/{name}"] = parameter.grad.clone()
        with torch.no_grad():
            words = torch.tensor([[START] + captions[0][1]])
            tensors[f"{variant}/logits"] = model(features[0][1:2], words)[0].contiguous()
        losses[variant] = {}
        for optimizer in OPTIMIZERS if variant == "lstm" else ["sgd"]:
            model.load_state_dict(initial)
            losses[variant][optimizer] = train(model, optimizer, batches)

    here = Path(__file__).parent
    save_file(tensors, here / "decoder.safetensors")
    golden = {"captions": captions, "losses": losses}
    (here / "decoder.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
