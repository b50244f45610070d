"""`EdgeViT` -> `.tflite`: litert-torch for the graph, ai-edge-quantizer for the precisions."""
