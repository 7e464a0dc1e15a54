"""Pure functions of tensors for boxes, anchors, masks, heat maps and colours."""
