"""Networks as people post them in questions, reports and tutorials, small; see test_posted_networks.py."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import weight_norm


class GRN(nn.Module):
    def __init__(self, dim) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.randn(1, 1, 1, dim)), nn.Parameter(torch.randn(1, 1, 1, dim))

    def forward(self, x):
        gx = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        nx = gx / (gx.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (x * nx) + self.beta + x


class ConvNeXtV2(nn.Module):
    """Blocks with a global response normalization, channels last inside."""

    def __init__(self, dim=6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 2, 2)
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm, self.act, self.grn = nn.LayerNorm(dim, eps=1e-6), nn.GELU(), GRN(2 * dim)
        self.pwconv1, self.pwconv2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.head = nn.Linear(dim, 5)

    def forward(self, x):
        x = self.stem(x)
        input = x
        x = self.dwconv(x).permute(0, 2, 3, 1)
        x = self.pwconv2(self.grn(self.act(self.pwconv1(self.norm(x)))))
        x = input + x.permute(0, 3, 1, 2)
        return self.head(x.mean([-2, -1]))


class ConvLSTMCell(nn.Module):
    def __init__(self, c_in, hidden) -> None:
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(c_in + hidden, 4 * hidden, 3, padding=1)

    def forward(self, x, state):
        h, c = state
        gates = self.conv(torch.cat([x, h], dim=1))
        i, f, o, g = torch.split(gates, self.hidden, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class NextFrame(nn.Module):
    """A convolutional LSTM in a loop over frames; it predicts every next frame."""

    def __init__(self, hidden=4) -> None:
        super().__init__()
        self.cell, self.out = ConvLSTMCell(1, hidden), nn.Conv2d(hidden, 1, 1)

    def forward(self, x):
        b, t, c, h, w = x.size()
        state = (torch.zeros(b, self.cell.hidden, h, w), torch.zeros(b, self.cell.hidden, h, w))
        frames = []
        for step in range(t):
            state = self.cell(x[:, step, :, :, :], state)
            frames.append(torch.sigmoid(self.out(state[0])))
        return torch.stack(frames, dim=1)


class NetVLAD(nn.Module):
    """Place recognition: soft assignment of unit features to clusters, residuals, unit length twice."""

    def __init__(self, clusters=3, dim=4) -> None:
        super().__init__()
        self.base = nn.Conv2d(3, dim, 3, 2)
        self.conv = nn.Conv2d(dim, clusters, kernel_size=(1, 1), bias=True)
        self.centroids = nn.Parameter(torch.rand(clusters, dim))
        self.num_clusters = clusters

    def forward(self, x):
        x = self.base(x)
        n, c = x.shape[:2]
        x = F.normalize(x, p=2, dim=1)
        soft_assign = F.softmax(self.conv(x).view(n, self.num_clusters, -1), dim=1)
        x_flatten = x.view(n, c, -1)
        residual = x_flatten.expand(self.num_clusters, -1, -1, -1).permute(1, 0, 2, 3) - self.centroids.expand(
            x_flatten.size(-1), -1, -1
        ).permute(1, 2, 0).unsqueeze(0)
        residual *= soft_assign.unsqueeze(2)
        vlad = residual.sum(dim=-1)
        vlad = F.normalize(vlad, p=2, dim=2)
        return F.normalize(vlad.view(x.size(0), -1), p=2, dim=1)


class CapsNet(nn.Module):
    """Capsules with two rounds of routing; the outputs are lengths of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 5)
        self.primary = nn.Conv2d(8, 8, 3, stride=2)
        self.W = nn.Parameter(0.3 * torch.randn(1, 18, 3, 4, 4))

    def squash(self, s, dim=-1):
        squared = (s**2).sum(dim, keepdim=True)
        return squared * s / ((1.0 + squared) * torch.sqrt(squared + 1e-8))

    def forward(self, x):
        x = F.relu(self.conv(x))
        u = self.squash(self.primary(x).view(x.size(0), 18, 4))
        u_hat = torch.matmul(self.W, u[:, :, None, :, None]).squeeze(-1)
        b_ij = torch.zeros(x.size(0), 18, 3, 1)
        for iteration in range(2):
            c_ij = F.softmax(b_ij, dim=2)
            v_j = self.squash((c_ij * u_hat).sum(dim=1, keepdim=True))
            if iteration < 1:
                b_ij = b_ij + (u_hat * v_j).sum(dim=-1, keepdim=True)
        return v_j.squeeze(1).norm(dim=-1)


class Chomp1d(nn.Module):
    def __init__(self, chomp_size) -> None:
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


class TCN(nn.Module):
    """Dilated causal convolutions with the old weight normalization; the last time step is classified."""

    def __init__(self) -> None:
        super().__init__()
        layers = []
        for i, (c_in, c_out) in enumerate([(3, 5), (5, 5)]):
            dilation = 2**i
            conv = weight_norm(nn.Conv1d(c_in, c_out, 3, padding=2 * dilation, dilation=dilation))
            layers += [conv, Chomp1d(2 * dilation), nn.ReLU(), nn.Dropout(0.2)]
        self.net = nn.Sequential(*layers)
        self.downsample, self.relu = nn.Conv1d(3, 5, 1), nn.ReLU()
        self.linear = nn.Linear(5, 4)

    def forward(self, x):
        x = x.transpose(1, 2)
        y = self.relu(self.net(x) + self.downsample(x))
        return self.linear(y[:, :, -1])


class SSDLite(nn.Module):
    """Boxes and classes of two feature maps; the first is scaled to a learned length, as in SSD300."""

    def __init__(self, classes=4) -> None:
        super().__init__()
        self.classes = classes
        self.base = nn.ModuleList([nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, 2, 1)])
        self.extra = nn.Conv2d(6, 8, 3, 2, 1)
        self.rescale = nn.Parameter(torch.FloatTensor(1, 6, 1, 1).fill_(20))
        self.loc = nn.ModuleList([nn.Conv2d(6, 2 * 4, 3, padding=1), nn.Conv2d(8, 3 * 4, 3, padding=1)])
        self.conf = nn.ModuleList([nn.Conv2d(6, 2 * classes, 3, padding=1), nn.Conv2d(8, 3 * classes, 3, padding=1)])

    def forward(self, x):
        for k in range(len(self.base)):
            x = self.base[k](x)
        norm = x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
        sources = [x / norm * self.rescale, F.relu(self.extra(x), inplace=True)]
        loc, conf = list(), list()
        for x, l, c in zip(sources, self.loc, self.conf):
            loc.append(l(x).permute(0, 2, 3, 1).contiguous())
            conf.append(c(x).permute(0, 2, 3, 1).contiguous())
        loc = torch.cat([o.view(o.size(0), -1) for o in loc], 1)
        conf = torch.cat([o.view(o.size(0), -1) for o in conf], 1)
        return loc.view(loc.size(0), -1, 4), conf.view(conf.size(0), -1, self.classes)


class PSPNet(nn.Module):
    """Pyramid pooling, and an auxiliary output; both are in a dict at the size of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer0 = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.layer1 = nn.Sequential(nn.Conv2d(6, 6, 3, padding=2, dilation=2), nn.ReLU())
        self.stages = nn.ModuleList(
            [nn.Sequential(nn.AdaptiveAvgPool2d(bin), nn.Conv2d(6, 2, 1), nn.ReLU()) for bin in (1, 2, 3, 6)]
        )
        self.cls = nn.Sequential(nn.Conv2d(14, 6, 3, padding=1), nn.Dropout2d(p=0.1), nn.Conv2d(6, 4, 1))
        self.aux = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        size = x.size()[2:]
        low = self.layer0(x)
        x = self.layer1(low)
        h, w = x.size(2), x.size(3)
        priors = [F.interpolate(stage(x), size=(h, w), mode="bilinear", align_corners=True) for stage in self.stages]
        out = self.cls(torch.cat([x] + priors, dim=1))
        result = {}
        result["out"] = F.interpolate(out, size, mode="bilinear", align_corners=True)
        result["aux"] = F.interpolate(self.aux(low), size=size, mode="bicubic", align_corners=False)
        return result


class UnetSkipBlock(nn.Module):
    """A block of pix2pix's generator, around its own submodule."""

    def __init__(self, outer, inner, submodule=None, outermost=False) -> None:
        super().__init__()
        self.outermost = outermost
        down = nn.Conv2d(1 if outermost else outer, inner, kernel_size=4, stride=2, padding=1)
        up = nn.ConvTranspose2d(inner * (1 if submodule is None else 2), outer, kernel_size=4, stride=2, padding=1)
        if outermost:
            model = [down, submodule, nn.ReLU(True), up, nn.Tanh()]
        elif submodule is None:
            model = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, nn.InstanceNorm2d(outer)]
        else:
            model = [nn.LeakyReLU(0.2, True), down, nn.InstanceNorm2d(inner), submodule, nn.ReLU(True), up]
            model += [nn.InstanceNorm2d(outer, affine=True), nn.Dropout(0.5)]
        self.model = nn.Sequential(*model)

    def forward(self, x):
        if self.outermost:
            return self.model(x)
        return torch.cat([x, self.model(x)], 1)


class Pix2Pix(nn.Module):
    """Translation of images with blocks in blocks, of which each first changes its input in place."""

    def __init__(self) -> None:
        super().__init__()
        block = UnetSkipBlock(6, 6)
        block = UnetSkipBlock(4, 6, block)
        self.model = UnetSkipBlock(2, 4, block, outermost=True)

    def forward(self, input):
        return self.model(input)


class EDSR(nn.Module):
    """Super-resolution: the mean is subtracted and added again, and channels become pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1))
        self.head = nn.Conv2d(3, 6, 3, padding=1, padding_mode="replicate")
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(True), nn.Conv2d(6, 6, 3, padding=1)) for _ in range(2)
        )
        self.tail = nn.Sequential(nn.Conv2d(6, 24, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(6, 3, 3, padding=1))

    def forward(self, x):
        x = x - self.mean
        x = self.head(x)
        res = x
        for block in self.body:
            res = res + block(res).mul(0.1)
        res += x
        return torch.clamp(self.tail(res) + self.mean, 0.0, 1.0)


class CoordConv(nn.Module):
    """Positions as two channels more, and the angle of an object as its sine and cosine."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, stride=2), nn.Conv2d(6, 8, 3)
        self.fc = nn.Linear(8, 2)

    def add_coords(self, x):
        b, _, h, w = x.shape
        xx = torch.arange(w).repeat(b, h, 1).type_as(x) / (w - 1) * 2 - 1
        yy = torch.arange(h).repeat(b, w, 1).transpose(1, 2).type_as(x) / (h - 1) * 2 - 1
        return torch.cat([x, xx.unsqueeze(1), yy.unsqueeze(1)], dim=1)

    def forward(self, x):
        x = F.celu(self.conv1(self.add_coords(x)))
        x = F.selu(self.conv2(x))
        x = torch.amax(x, dim=(2, 3))
        v = self.fc(x)
        return torch.atan2(v[:, 0], v[:, 1])


NETWORKS = [
    (ConvNeXtV2, (3, 16, 14)), (NextFrame, (3, 1, 8, 7)), (NetVLAD, (3, 11, 11)), (CapsNet, (1, 12, 12)),
    (TCN, (12, 3)),
    (SSDLite, (3, 24, 24)), (PSPNet, (3, 25, 19)), (Pix2Pix, (1, 16, 16)), (EDSR, (3, 10, 8)),
    (CoordConv, (1, 13, 15)),
]  # fmt: skip
