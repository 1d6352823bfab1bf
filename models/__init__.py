"""Keras builders, one architecture a file; nothing here imports the pipeline.

A builder is `build(...)` in `models/<name>.py`. Its positional parameters are facts of the prepared data that the pipeline
fills in by name; its keyword-only parameters are what a recipe may set under `model:`. A positional parameter with a default
is filled in only where the recipe's data has the fact; of a builder with several inputs, one must be there.

| positional parameter | what the pipeline gives | of |
|---|---|---|
| `num_outputs` | number of label classes; of a regression, the numbers of a label | every recipe |
| `tensor_shape`, `tensor_dtype` | of one row of the prepared tensor | every recipe |
| `num_features` | width of the packed float32 vector | tables |
| `category_sizes` | position of each category that is a code (`encode: ordinal` or `vocabulary`) -> number of codes | tables |
| `image_shape` | (height, width, channels) of the image tensor, uint8 | images |
| `pixel_mean`, `pixel_std` | per-channel statistics of the train rows, in pixel units (0 to 255) | images |
| `num_samples`, `sample_rate` | length of the waveform, int16 or float32; samples a second | sounds |
| `sequence_length`, `vocabulary_size` | int32 token ids: 0 is padding, 1 unknown | texts |
| `sequence_shape` | (steps, channels) of a float32 series; docs/series.md says what its channels are | series |
| `history`, `horizon`, `num_channels` | steps that are known, steps to tell, channels of the former | series |
| `num_users`, `num_items` | of an int32 tensor [user, item, …] | ratings |

The last layer is linear: of a classification it returns logits (the loss owns the softmax), of a regression the scaled label.
Layers are Keras' own, so that a saved model loads without this project.
"""

from typing import Literal

# What hidden units do, by Keras' names; a recipe's `activation` is checked against them before anything is built.
Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "tanh"]
