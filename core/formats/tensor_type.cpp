#include "core/formats/tensor_type.h"
