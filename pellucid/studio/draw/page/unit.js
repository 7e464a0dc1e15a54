// What one unit multiplies with its weights: a neuron all inputs, a feature map the patch at its largest output.
import { argmax } from "/core/dom.js";

/**
 * The index in x (C, H, W) of the input that a kernel's cell [channel, u, v] meets at an output's position; -1 for padding.
 * @type {(layer: any, unit: number, cell: number[], position: number[], shape: number[]) => number}
 */
export function inputIndex(layer, unit, [channel, u, v], [row, column], [, height, width]) {
  const { stride, dilation, before, groups } = layer.window;
  const first = Math.floor(unit / (layer.weight[0] / groups)) * layer.weight[1]; // channel of this unit's group
  const r = row * stride[0] + u * dilation[0] - before[0], c = column * stride[1] + v * dilation[1] - before[1];
  return r < 0 || c < 0 || r >= height || c >= width ? -1 : ((first + channel) * height + r) * width + c;
}

/** The inputs of a unit in the order of its weights, its output, and for a map its position; null if they are not known. */
export function products(S, { layer }, unit) {
  const x = S.run.tensors[layer.x], y = S.run.tensors[layer.y];
  if (!x || !y) return null; // not sent, since they are large
  if (layer.weight.length === 2) return x.data.length === layer.weight[1] ? { inputs: x.data, output: y.data[unit], position: null } : null;
  if (!layer.window) return null;
  const [, height, width] = layer.shape, map = y.data.subarray(unit * height * width, (unit + 1) * height * width), most = argmax(map);
  const position = [Math.floor(most / width), most % width], [channels, rows, columns] = layer.weight.slice(1);
  const inputs = Array.from({ length: channels * rows * columns }, (_, k) => {
    const cell = [Math.floor(k / (rows * columns)), Math.floor(k / columns) % rows, k % columns];
    return x.data[inputIndex(layer, unit, cell, position, x.shape)] ?? 0;
  });
  return { inputs, output: map[most], position };
}
