"""Networks as people post them in questions, reports and tutorials, small; see test_posted_networks.py."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import spectral_norm


class MLPMixer(nn.Module):
    """Mixing of tokens and channels by Conv1d and Linear, patches by reshapes and an einsum."""

    def __init__(self, dim=6) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 16, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.token = nn.Sequential(nn.Conv1d(6, 10, 1), nn.GELU(approximate="tanh"), nn.Conv1d(10, 6, 1))
        self.channel = nn.Sequential(nn.Linear(dim, 12), nn.GELU(), nn.Dropout(0.1), nn.Linear(12, dim))
        self.head = nn.Linear(dim, 5)

    def patchify(self, imgs, p=4):
        h, w = imgs.shape[2] // p, imgs.shape[3] // p
        x = imgs.reshape(shape=(imgs.shape[0], 3, h, p, w, p))
        x = torch.einsum("nchpwq->nhwpqc", x)
        return x.reshape(shape=(imgs.shape[0], h * w, p**2 * 3))

    def forward(self, x):
        x = self.embed(self.patchify(x))
        x = x + self.token(self.norms[0](x))
        x = x + self.channel(self.norms[1](x))
        return self.head(self.norms[2](x).mean(dim=1))


class AgeGenderRace(nn.Module):
    """Three heads: an expected age from its classes, two logits, and one probability; names in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.Hardswish(), nn.Conv2d(6, 8, 3))
        self.shared = nn.Sequential(nn.Linear(8, 10), nn.BatchNorm1d(10, affine=False), nn.ReLU6())
        self.head = nn.Linear(10, 11 + 2 + 1)

    def forward(self, x):
        feat = self.backbone(x).mean((2, 3))
        out = self.head(self.shared(feat))
        age, gender, smile = torch.split(out, [11, 2, 1], dim=-1)
        ages = torch.arange(0, 101, 10, dtype=x.dtype)
        expected = torch.sum(F.softmax(age, dim=1) * ages, dim=1)
        return {"age": expected, "gender": gender, "smile": torch.sigmoid(smile).squeeze(-1)}


class SelfAttention2d(nn.Module):
    def __init__(self, c) -> None:
        super().__init__()
        self.query = spectral_norm(nn.Conv2d(c, c // 2, 1))
        self.key, self.value = nn.Conv2d(c, c // 2, 1), nn.Conv2d(c, c, 1)
        self.gamma = nn.Parameter(torch.tensor([0.4]))

    def forward(self, x):
        m_batchsize, c, width, height = x.size()
        q = self.query(x).view(m_batchsize, -1, width * height).permute(0, 2, 1)
        k = self.key(x).view(m_batchsize, -1, width * height)
        attention = F.softmax(torch.bmm(q, k), dim=-1)
        v = self.value(x).view(m_batchsize, -1, width * height)
        out = torch.bmm(v, attention.permute(0, 2, 1)).view(m_batchsize, c, width, height)
        return self.gamma * out + x, attention


class SAGANDiscriminator(nn.Module):
    """Convolutions with spectral normalization, attention over pixels, one number for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.l1 = nn.Sequential(spectral_norm(nn.Conv2d(3, 4, 4, 2, 1)), nn.LeakyReLU(0.1))
        self.attn = SelfAttention2d(4)
        self.l2 = nn.Sequential(spectral_norm(nn.Conv2d(4, 6, 4, 2, 1)), nn.LeakyReLU(0.1))
        self.last = nn.Conv2d(6, 1, 4)

    def forward(self, x):
        out, p1 = self.attn(self.l1(x))
        return self.last(self.l2(out)).squeeze(), p1


class Lambda(nn.Module):
    def __init__(self, func) -> None:
        super().__init__()
        self.func = func

    def forward(self, x):
        return self.func(x)


class InceptionDense(nn.Module):
    """Inception branches and dense connections; the head is a Sequential with functions in it."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Lambda(lambda x: x.view(-1, 1, 14, 14))
        self.branch1x1 = nn.Conv2d(1, 3, 1)
        self.branch5x5 = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 5, padding=2))
        self.branch_pool = nn.Conv2d(1, 2, 1)
        self.dense = nn.ModuleList(nn.Conv2d(8 + 4 * k, 4, 3, padding=1, bias=False) for k in range(2))
        self.bns = nn.ModuleList(nn.BatchNorm2d(8 + 4 * k) for k in range(2))
        self.head = nn.Sequential(
            Lambda(lambda x: F.avg_pool2d(x, 7)), Lambda(lambda x: x.view(x.size(0), -1)), nn.Linear(64, 5),
            Lambda(lambda x: F.log_softmax(x, -1)),
        )  # fmt: skip

    def forward(self, xb):
        xb = self.preprocess(xb)
        pool = self.branch_pool(F.avg_pool2d(xb, kernel_size=3, stride=1, padding=1, count_include_pad=False))
        features = [torch.cat([self.branch1x1(xb), self.branch5x5(xb), pool], 1)]
        for bn, conv in zip(self.bns, self.dense):
            features.append(conv(F.relu(bn(torch.cat(features, 1)))))
        return self.head(torch.cat(features, 1))


class DepthNet(nn.Module):
    """Monocular depth: disparities of two sizes with nearest upsampling and reflected borders, in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.e1, self.e2 = nn.Conv2d(3, 4, 7, 2, 3), nn.Conv2d(4, 6, 3, 2, 1)
        self.pad = nn.ReflectionPad2d(1)
        self.up1, self.up0 = nn.Conv2d(6, 4, 3), nn.Conv2d(8, 4, 3)
        self.disp1, self.disp0 = nn.Conv2d(4, 1, 3), nn.Conv2d(4, 1, 3)

    def upsample(self, x):
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def forward(self, input_image):
        x = (input_image - 0.45) / 0.225
        x1 = F.elu(self.e1(x))
        x2 = F.elu(self.e2(x1))
        u1 = self.upsample(F.elu(self.up1(self.pad(x2)), inplace=True))
        disp1 = torch.sigmoid(self.disp1(self.pad(u1)))
        u0 = self.upsample(F.elu(self.up0(self.pad(torch.cat([u1, x1], 1)))))
        disp0 = torch.sigmoid(self.disp0(self.pad(u0)))
        depths = [1 / (0.01 + 9.99 * d) for d in (disp0, disp1)]
        return depths


class DETRDemo(nn.Module):
    """Detection by PyTorch's Transformer with learned queries and positions of rows and columns."""

    def __init__(self, classes=3, d=8) -> None:
        super().__init__()
        self.backbone, self.conv = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, d, 1)
        self.transformer = nn.Transformer(d, 2, 1, 1, dim_feedforward=16)
        self.linear_class, self.linear_bbox = nn.Linear(d, classes + 1), nn.Linear(d, 4)
        self.query_pos = nn.Parameter(torch.rand(5, d))
        self.row_embed, self.col_embed = nn.Parameter(torch.rand(50, d // 2)), nn.Parameter(torch.rand(50, d // 2))

    def forward(self, inputs):
        h = self.conv(self.backbone(inputs).relu())
        height, width = h.shape[-2:]
        pos = torch.cat(
            [
                self.col_embed[:width].unsqueeze(0).repeat(height, 1, 1),
                self.row_embed[:height].unsqueeze(1).repeat(1, width, 1),
            ],
            dim=-1,
        )
        source = pos.flatten(0, 1).unsqueeze(1) + 0.1 * h.flatten(2).permute(2, 0, 1)
        queries = self.query_pos.unsqueeze(1).repeat(1, h.shape[0], 1)
        h = self.transformer(source, queries).transpose(0, 1)
        return {"pred_logits": self.linear_class(h), "pred_boxes": self.linear_bbox(h).sigmoid()}


class EEGNet(nn.Module):
    """Brain signals: a depthwise convolution over electrodes whose weights are limited in every forward."""

    def __init__(self, channels=4) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 3, (1, 8), padding=(0, 4), bias=False), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 6, (channels, 1), groups=3, bias=False), nn.BatchNorm2d(6)
        self.separable, self.bn3 = nn.Conv2d(6, 6, (1, 4), groups=6), nn.BatchNorm2d(6)
        self.point = nn.Conv2d(6, 6, 1)
        self.dense = nn.LazyLinear(3)

    def forward(self, x):
        x = x.unsqueeze(1)
        x = self.bn1(self.conv1(x))
        self.conv2.weight.data = torch.renorm(self.conv2.weight.data, p=2, dim=0, maxnorm=1.0)
        x = F.dropout(F.avg_pool2d(F.elu(self.bn2(self.conv2(x))), (1, 4)), 0.25, self.training)
        x = F.elu(self.bn3(self.point(self.separable(x))))
        return self.dense(x.flatten(1))


class ArcFaceCosine(nn.Module):
    """A tied autoencoder, and cosines to the classes' centers with an angular margin for the nearest one."""

    def __init__(self, s=8.0, m=0.2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 3 * 8 * 8) * 0.1)
        self.bias = nn.Parameter(torch.zeros(6))
        self.centers = nn.Parameter(torch.randn(4, 6))
        self.s, self.m = s, m

    def forward(self, x):
        x = torch.flatten(x, 1)
        code = torch.tanh(F.linear(x, self.weight, self.bias))
        decoded = F.linear(code, self.weight.t()).unflatten(1, (3, 8, 8))
        cosine = F.linear(F.normalize(code), F.normalize(self.centers))
        theta = torch.acos(torch.clamp(cosine, -1.0 + 1e-7, 1.0 - 1e-7))
        nearest = F.one_hot(cosine.argmax(dim=1), num_classes=4)
        logits = torch.cos(theta + self.m * nearest)
        return logits * self.s, decoded


class Involution(nn.Module):
    """Kernels computed for each pixel by unfold, then branches weighed by a softmax as in SKNet."""

    def __init__(self, c=4, k=3, groups=2) -> None:
        super().__init__()
        self.k, self.groups = k, groups
        self.stem = nn.Conv2d(3, c, 3, 2, 1)
        self.reduce, self.span = nn.Conv2d(c, 2, 1), nn.Conv2d(2, k * k * groups, 1)
        self.convs = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1 + i, dilation=1 + i, groups=2) for i in range(2))
        self.fc, self.fcs = nn.Linear(c, 3), nn.ModuleList(nn.Linear(3, c) for _ in range(2))
        self.cls = nn.Linear(c, 5)

    def involution(self, x):
        b, c, h, w = x.shape
        kernel = self.span(self.reduce(x)).view(b, self.groups, self.k * self.k, h, w).unsqueeze(2)
        patches = F.unfold(x, self.k, padding=self.k // 2).view(b, self.groups, c // self.groups, self.k**2, h, w)
        return (kernel * patches).sum(dim=3).view(b, c, h, w)

    def forward(self, x):
        x = F.relu(self.involution(self.stem(x)))
        feats = torch.stack([conv(x) for conv in self.convs], dim=1)
        z = self.fc(feats.sum(dim=1).mean(-1).mean(-1))
        att = torch.stack([fc(z) for fc in self.fcs], dim=1)
        att = torch.softmax(att, dim=1).unsqueeze(-1).unsqueeze(-1)
        return self.cls(F.adaptive_avg_pool2d((feats * att).sum(dim=1), 1)[:, :, 0, 0])


class GatedMIL(nn.Module):
    """Bags of patches with gated attention; a probability, a hard answer, and the attention."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2, stride=2), nn.Flatten())
        self.fc = nn.Sequential(nn.Linear(16, 6), nn.ReLU())
        self.attention_V = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
        self.attention_U = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid())
        self.attention_w = nn.Linear(4, 1)
        self.classifier = nn.Sequential(nn.Linear(6, 1), nn.Sigmoid())

    def forward(self, x):
        b, n = x.shape[:2]
        h = self.fc(self.features(x.flatten(0, 1))).view(b, n, -1)
        a = self.attention_w(self.attention_V(h) * self.attention_U(h))
        a = F.softmax(torch.transpose(a, 2, 1), dim=-1)
        z = torch.matmul(a, h).squeeze(1)
        y_prob = self.classifier(z)
        y_hat = torch.ge(y_prob, 0.5).float()
        return y_prob, y_hat, a


NETWORKS = [
    (MLPMixer, (3, 8, 12)), (AgeGenderRace, (3, 11, 11)), (SAGANDiscriminator, (3, 16, 16)), (InceptionDense, (196,)),
    (DepthNet, (3, 16, 24)), (DETRDemo, (3, 12, 16)), (EEGNet, (4, 32)), (ArcFaceCosine, (3, 8, 8)),
    (Involution, (3, 12, 10)), (GatedMIL, (5, 1, 6, 6)),
]  # fmt: skip
