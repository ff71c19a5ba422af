#pragma once

#include "base/image.h"

namespace dreamlab {

// The colors of pixels that nobody sees (alpha 0) are anything: often black, or what was erased. A filter over the
// picture would mix them into the pixels beside them. They are replaced by the nearest colors that show, averaged more
// the farther away those are. A picture without such pixels comes back as it is.
Image fill_hidden_colors(Image picture);

}  // namespace dreamlab
