"""Networks as people post them in questions, reports and tutorials, small; see test_posted_networks.py."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class AttentionGate(nn.Module):
    def __init__(self, f_g: int, f_l: int, f_int: int) -> None:
        super().__init__()
        self.W_g = nn.Sequential(nn.Conv2d(f_g, f_int, 1), nn.BatchNorm2d(f_int))
        self.W_x = nn.Sequential(nn.Conv2d(f_l, f_int, 1), nn.BatchNorm2d(f_int))
        self.psi = nn.Sequential(nn.Conv2d(f_int, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())
        self.relu = nn.ReLU(inplace=True)

    def forward(self, g, x):
        return x * self.psi(self.relu(self.W_g(g) + self.W_x(x)))


class AttentionUNet(nn.Module):
    """Medical segmentation: gated skips, bilinear upsampling, padding where sizes differ."""

    def __init__(self) -> None:
        super().__init__()
        self.d1, self.d2, self.d3 = self.block(1, 4), self.block(4, 6), self.block(6, 8)
        self.up2 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.g2, self.g1 = AttentionGate(8, 6, 4), AttentionGate(6, 4, 3)
        self.u2, self.u1 = self.block(14, 6), self.block(10, 4)
        self.final = nn.Conv2d(4, 2, kernel_size=1)

    @staticmethod
    def block(c_in, c_out):
        return nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True),
            nn.Conv2d(c_out, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True),
        )  # fmt: skip

    def up(self, x, like):
        x = self.up2(x)
        dy, dx = like.size(2) - x.size(2), like.size(3) - x.size(3)
        if dy or dx:
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return x

    def forward(self, x):
        e1 = self.d1(x)
        e2 = self.d2(F.max_pool2d(e1, 2))
        e3 = self.d3(F.max_pool2d(e2, 2))
        g = self.up(e3, e2)
        d2 = self.u2(torch.cat((self.g2(g, e2), g), dim=1))
        g = self.up(d2, e1)
        return self.final(self.u1(torch.cat((self.g1(g, e1), g), dim=1)))


class ConvVAE(nn.Module):
    """A variational autoencoder that samples in training mode only."""

    def __init__(self, z_dim=3) -> None:
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.2)
        )
        self.fc_mu, self.fc_logvar = nn.Linear(8 * 16, z_dim), nn.Linear(8 * 16, z_dim)
        self.fc_dec = nn.Linear(z_dim, 8 * 16)
        self.dec = nn.Sequential(
            nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1), nn.ReLU(True),
            nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Sigmoid(),
        )  # fmt: skip

    def reparameterize(self, mu, logvar):
        if not self.training:
            return mu
        std = logvar.mul(0.5).exp_()
        return mu + torch.randn_like(std) * std

    def forward(self, x):
        h = self.enc(x).view(x.size(0), -1)
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = self.reparameterize(mu, logvar)
        return self.dec(self.fc_dec(z).view(-1, 8, 4, 4)), mu, logvar


class SiameseDistance(nn.Module):
    """Face verification: one trunk for two images, and the distance of their embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn1 = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Dropout2d(0.2),
            nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3, 2), nn.ReLU(inplace=True), nn.BatchNorm2d(4),
        )  # fmt: skip
        self.fc1 = nn.Sequential(nn.Linear(4 * 6 * 6, 10), nn.ReLU(inplace=True), nn.Linear(10, 5))

    def forward_once(self, x):
        output = self.cnn1(x)
        output = output.view(output.size()[0], -1)
        return self.fc1(output)

    def forward(self, input1, input2):
        return F.pairwise_distance(self.forward_once(input1), self.forward_once(input2), keepdim=True)


class BidirectionalLSTM(nn.Module):
    def __init__(self, n_in, n_hidden, n_out) -> None:
        super().__init__()
        self.rnn = nn.LSTM(n_in, n_hidden, bidirectional=True)
        self.embedding = nn.Linear(n_hidden * 2, n_out)

    def forward(self, input):
        self.rnn.flatten_parameters()
        recurrent, _ = self.rnn(input)
        t, b, h = recurrent.size()
        return self.embedding(recurrent.view(t * b, h)).view(t, b, -1)


class CRNN(nn.Module):
    """Text recognition: the height becomes 1, the width is time, which is the first axis of the output."""

    def __init__(self) -> None:
        super().__init__()
        cnn = nn.Sequential()
        cnn.add_module("conv0", nn.Conv2d(1, 4, 3, 1, 1))
        cnn.add_module("relu0", nn.ReLU(True))
        cnn.add_module("pooling0", nn.MaxPool2d(2, 2))
        cnn.add_module("conv1", nn.Conv2d(4, 6, 3, 1, 1))
        cnn.add_module("batchnorm1", nn.BatchNorm2d(6))
        cnn.add_module("relu1", nn.ReLU(True))
        cnn.add_module("pooling1", nn.MaxPool2d((2, 2), (2, 1), (0, 1)))
        cnn.add_module("conv2", nn.Conv2d(6, 6, 2, 1, 0))
        self.cnn = cnn
        self.rnn = nn.Sequential(BidirectionalLSTM(6, 4, 4), BidirectionalLSTM(4, 4, 7))

    def forward(self, input):
        conv = self.cnn(input)
        b, c, h, w = conv.size()
        assert h == 1, "the height of conv must be 1"
        conv = conv.squeeze(2).permute(2, 0, 1)
        return F.log_softmax(self.rnn(conv), dim=2)


class SpatialTransformer(nn.Module):
    """The tutorial's network, which turns the digit before it is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 5), nn.Conv2d(3, 4, 3)
        self.conv2_drop = nn.Dropout2d()
        self.localization = nn.Sequential(
            nn.Conv2d(1, 3, 5), nn.MaxPool2d(2, stride=2), nn.ReLU(True), nn.Conv2d(3, 4, 3), nn.ReLU(True)
        )
        self.fc_loc = nn.Sequential(nn.Linear(4 * 4 * 4, 8), nn.ReLU(True), nn.Linear(8, 3 * 2))
        self.fc_loc[2].bias.data.copy_(torch.tensor([1, 0, 0.05, 0, 1, -0.02], dtype=torch.float))
        self.fc1 = nn.Linear(4 * 2 * 2, 5)

    def stn(self, x):
        xs = self.localization(x)
        xs = xs.view(-1, 4 * 4 * 4)
        theta = self.fc_loc(xs).view(-1, 2, 3)
        grid = F.affine_grid(theta, x.size(), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def forward(self, x):
        x = self.stn(x)
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = x.view(-1, 16)
        return F.log_softmax(F.dropout(self.fc1(x), training=self.training), dim=1)


class CBAM(nn.Module):
    def __init__(self, planes, ratio=2) -> None:
        super().__init__()
        self.avg_pool, self.max_pool = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Sequential(
            nn.Conv2d(planes, planes // ratio, 1, bias=False), nn.ReLU(), nn.Conv2d(planes // ratio, planes, 1)
        )
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        x = x * self.sigmoid(self.fc(self.avg_pool(x)) + self.fc(self.max_pool(x)))
        avg_out = torch.mean(x, dim=1, keepdim=True)
        max_out, _ = torch.max(x, dim=1, keepdim=True)
        return x * self.sigmoid(self.conv(torch.cat([avg_out, max_out], dim=1)))


class CBAMClassifier(nn.Module):
    """Channel and spatial attention after each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.att1, self.conv, self.att2 = CBAM(6), nn.Conv2d(6, 8, 3, padding=1), CBAM(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.att1(self.stem(x))
        x = self.att2(F.relu(self.conv(x), inplace=True))
        return self.fc(F.adaptive_max_pool2d(x, (1, 1)).squeeze())


class KerasPort(nn.Module):
    """A port of a Keras model: NHWC input, asymmetric padding of strided convolutions, and probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(4, eps=1e-3, momentum=0.01)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4, padding="same", bias=False)
        self.pointwise = nn.Conv2d(4, 8, 1)
        self.dense = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2)
        x = F.pad(x, (0, 1, 0, 1))
        x = F.relu6(self.bn(self.conv(x)))
        x = F.hardtanh(self.pointwise(self.depthwise(x)), 0.0, 6.0)
        x = F.max_pool2d(x, 2)
        x = x.permute(0, 2, 3, 1).contiguous()
        x = torch.flatten(x, start_dim=1)
        return torch.softmax(self.dense(x), dim=-1)


class GeM(nn.Module):
    def __init__(self, p=3, eps=1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.ones(1) * p)
        self.eps = eps

    def forward(self, x):
        return F.avg_pool2d(x.clamp(min=self.eps).pow(self.p), (x.size(-2), x.size(-1))).pow(1.0 / self.p)


class GeMRetrieval(nn.Module):
    """Image retrieval: generalized mean pooling with a learned exponent, whitening, unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.pool, self.whiten = GeM(), nn.Linear(8, 5)

    def forward(self, x):
        o = self.pool(self.features(x)).flatten(1)
        o = o / (torch.norm(o, p=2, dim=1, keepdim=True) + 1e-6).expand_as(o)
        return F.normalize(self.whiten(o), p=2, dim=1)


class YoloGridHead(nn.Module):
    """A one-stage detector that decodes its boxes with a grid and anchors, and returns a dict."""

    def __init__(self, num_classes=3, anchors=((10, 13), (16, 30))) -> None:
        super().__init__()
        self.nc, self.na, self.stride = num_classes, len(anchors), 4
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.Mish()
        )
        self.detector = nn.Conv2d(8, self.na * (5 + num_classes), 1)
        self.register_buffer("anchors", torch.tensor(anchors).float())

    def forward(self, x):
        p = self.detector(self.backbone(x))
        bs, _, ny, nx = p.shape
        p = p.view(bs, self.na, self.nc + 5, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
        yv, xv = torch.meshgrid([torch.arange(ny), torch.arange(nx)], indexing="ij")
        grid = torch.stack((xv, yv), 2).view((1, 1, ny, nx, 2)).to(p)
        xy = (p[..., :2].sigmoid() + grid) * self.stride
        wh = torch.exp(p[..., 2:4]) * self.anchors.view(1, -1, 1, 1, 2)
        boxes = torch.cat((xy - wh / 2, xy + wh / 2), dim=-1)
        return {
            "boxes": boxes.view(bs, -1, 4),
            "obj": torch.sigmoid(p[..., 4]).view(bs, -1),
            "cls": p[..., 5:].reshape(bs, -1, self.nc),
        }


class SSH(nn.Module):
    def __init__(self, c) -> None:
        super().__init__()
        self.conv3 = nn.Sequential(nn.Conv2d(c, c // 2, 3, 1, 1), nn.BatchNorm2d(c // 2))
        self.conv5_1 = nn.Sequential(nn.Conv2d(c, c // 4, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True))
        self.conv5_2 = nn.Conv2d(c // 4, c // 4, 3, 1, 1)
        self.conv7_2 = nn.Sequential(nn.Conv2d(c // 4, c // 4, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True))
        self.conv7_3 = nn.Conv2d(c // 4, c // 4, 3, 1, 1)

    def forward(self, x):
        y = self.conv5_1(x)
        return F.relu(torch.cat([self.conv3(x), self.conv5_2(y), self.conv7_3(self.conv7_2(y))], dim=1))


class RetinaFaceLike(nn.Module):
    """A face detector: a pyramid, context modules, and boxes, classes and landmarks of two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.PReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.PReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.PReLU(8))
        self.output1, self.output2, self.merge = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.ssh = nn.ModuleList([SSH(8), SSH(8)])
        self.ClassHead = nn.ModuleList([nn.Conv2d(8, 2 * 2, 1) for _ in range(2)])
        self.BboxHead = nn.ModuleList([nn.Conv2d(8, 2 * 4, 1) for _ in range(2)])
        self.LandmarkHead = nn.ModuleList([nn.Conv2d(8, 2 * 10, 1) for _ in range(2)])

    def forward(self, inputs):
        c1 = self.stage1(inputs)
        c2 = self.stage2(c1)
        p1, p2 = self.output1(c1), self.output2(c2)
        p1 = self.merge(p1 + F.interpolate(p2, size=[p1.size(2), p1.size(3)], mode="nearest"))
        features = [ssh(p) for ssh, p in zip(self.ssh, [p1, p2])]

        def gather(heads, k):
            outs = [h(f).permute(0, 2, 3, 1).contiguous() for h, f in zip(heads, features)]
            return torch.cat([o.view(o.shape[0], -1, k) for o in outs], dim=1)

        classes = gather(self.ClassHead, 2)
        return gather(self.BboxHead, 4), F.softmax(classes, dim=-1), gather(self.LandmarkHead, 10)


NETWORKS = [
    (AttentionUNet, (1, 18, 14)), (ConvVAE, (1, 16, 16)), (SiameseDistance, (1, 11, 11), (1, 11, 11)),
    (CRNN, (1, 8, 20)), (SpatialTransformer, (1, 16, 16)), (CBAMClassifier, (3, 12, 12)), (KerasPort, (16, 16, 3)),
    (GeMRetrieval, (3, 13, 13)), (YoloGridHead, (3, 16, 20)), (RetinaFaceLike, (3, 24, 32)),
]  # fmt: skip
