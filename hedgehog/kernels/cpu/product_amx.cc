// See product_amx.h. The instructions are written out: g++ 12's macros for them take no template arguments as tile numbers and
// do not tell the compiler that they read and write memory.
#include "hedgehog/kernels/cpu/product_amx.h"

#include "hedgehog/kernels/cpu/instruction_set.h"

#if defined(__x86_64__) && defined(__linux__) && (defined(__GNUC__) || defined(__clang__))
#define HEDGEHOG_TILES 1
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace hedgehog::kernels {
namespace {

thread_local bool scope_is_open = false;

}  // namespace

bool in_tile_scope() {
  return scope_is_open;
}

#ifdef HEDGEHOG_TILES

namespace {

struct Registers {
  template <int kTile>
  static void load(const void* base, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(base), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* base, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(base), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kC, int kA, int kB>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }
};

// What ldtilecfg reads.
struct alignas(64) Configuration {
  std::uint8_t palette = 1, start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Configuration) == 64);

bool processor_has_tiles() {
  constexpr unsigned kOsSaves = 1u << 27, kBf16Tiles = 1u << 22, kTiles = 1u << 24, kTileState = 3u << 17;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsSaves) == 0) return false;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & kBf16Tiles) == 0 || (edx & kTiles) == 0) return false;
  // Which registers the operating system saves.
  asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (eax & kTileState) == kTileState;
}

// Linux gives a process the tiles' 8 KiB of state only when it asks.
bool ask_for_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool has_tiles() {
  static const bool has = processor_has_tiles() && ask_for_tiles();
  return has;
}

TileScope::TileScope() : opened_(!scope_is_open && chosen_instruction_set() == InstructionSet::kAmx) {
  if (!opened_) return;
  static constexpr Configuration kConfiguration;
  asm volatile("ldtilecfg %0" : : "m"(kConfiguration));
  scope_is_open = true;
}

TileScope::~TileScope() {
  if (!opened_) return;
  scope_is_open = false;
  // Else the processor would save the tiles at every switch of threads.
  asm volatile("tilerelease");
}

void product_amx(const Bf16Product& product, void (*rest)(const Bf16Product&)) {
  product_by_tiles<Registers>(product, rest);
}

#else

bool has_tiles() {
  return false;
}

TileScope::TileScope() : opened_(false) {}
TileScope::~TileScope() = default;

void product_amx(const Bf16Product&, void (*)(const Bf16Product&)) {}

#endif

}  // namespace hedgehog::kernels
