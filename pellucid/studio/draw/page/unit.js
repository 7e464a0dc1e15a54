// What one unit multiplies with its weights: a neuron all inputs, a feature map the patch at its largest output.
import { argmax } from "/core/dom.js";

/** @type {(layer: any, unit: number, position: number[], shape: number[], channels: number[]) => number[]} The indices in x (C, H, W) of the inputs that a kernel (channel, u, v) meets at (row, column); -1 for padding. */
export function patch(layer, unit, [row, column], [, height, width], channels) {
  const { kernel, stride, dilation, before } = layer.window, result = [];
  const first = Math.floor(unit / (layer.weight[0] / layer.groups)) * layer.weight[1]; // channel of this unit's group
  for (const channel of channels)
    for (let u = 0; u < kernel[0]; u++)
      for (let v = 0; v < kernel[1]; v++) {
        const r = row * stride[0] + u * dilation[0] - before[0], c = column * stride[1] + v * dilation[1] - before[1];
        result.push(r < 0 || c < 0 || r >= height || c >= width ? -1 : ((first + channel) * height + r) * width + c);
      }
  return result;
}

/** The inputs of a unit in the order of its weights, its output, and for a map its position; null if they are not known. */
export function products(S, { layer }, unit) {
  const x = S.run.tensors[layer.x], y = S.run.tensors[layer.y];
  if (!x || !y) return null; // not sent, since they are large
  if (layer.weight.length === 2) return x.data.length === layer.weight[1] ? { inputs: x.data, output: y.data[unit], position: null } : null;
  if (!layer.window) return null;
  const [, height, width] = layer.shape, map = y.data.subarray(unit * height * width, (unit + 1) * height * width), most = argmax(map);
  const position = [Math.floor(most / width), most % width], channels = [...Array(layer.weight[1]).keys()];
  return { inputs: Array.from(patch(layer, unit, position, x.shape, channels), (k) => (k < 0 ? 0 : x.data[k])), output: map[most], position };
}
