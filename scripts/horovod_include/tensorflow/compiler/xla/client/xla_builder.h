// TensorFlow 2.19 moved this header; Horovod 0.28.1 still asks for the old path.
#include "xla/hlo/builder/xla_builder.h"
