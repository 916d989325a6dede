// bf16 products in the tile registers of AMX, for product_bf16. A thread has to configure the registers before it uses them,
// and another library that uses them on the same thread may leave its own configuration: so each task of a kernel opens a
// TileScope.
#pragma once

#include "hedgehog/kernels/cpu/tile_product.h"

namespace hedgehog::kernels {

/// Whether the processor multiplies bf16 tiles and the operating system lets this process do so.
bool has_tiles();

/// While one is open, product_bf16 on this thread uses tiles, if the kernels run on kAmx; a second inside it does nothing.
class TileScope {
 public:
  TileScope();
  ~TileScope();
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  bool opened_;
};

/// Whether product_amx may be called here and now.
bool in_tile_scope();

/// The product in tiles, and by `rest` what whole tiles leave over.
void product_amx(const Bf16Product& product, void (*rest)(const Bf16Product&));

}  // namespace hedgehog::kernels
