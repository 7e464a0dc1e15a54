"""Opening of ONNX files: conversion of nodes to layers, with one function for each operator."""

from pellucid.opening.onnx.catalogue import READERS

__all__ = ["READERS"]
