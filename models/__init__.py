"""Keras builders, one architecture a file; nothing here imports the pipeline.

A builder is `build(...)` in `models/<name>.py`. Its positional parameters are facts of the prepared data that the pipeline
fills in by name; its keyword-only parameters are what a recipe may set under `model:`.

| positional parameter | what the pipeline gives |
|---|---|
| `num_features` | width of the packed `features` vector |
| `image_shape` | (height, width, channels) of the image tensor, uint8 |
| `pixel_mean`, `pixel_std` | per-channel statistics of the train rows, in pixel units (0 to 255) |
| `num_outputs` | number of label classes; 1 for regression |

The last layer is linear: of a classification it returns logits (the loss owns the softmax), of a regression the scaled label.
"""
