#include "hedgehog/base/sha256.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/mapped_file.h"

#include <openssl/evp.h>

#include <array>

namespace hedgehog {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  check(context_->evp != nullptr && EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1, "SHA-256 cannot be started");
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  check(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1, "SHA-256 failed");
}

std::string Sha256::hexadecimal() {
  std::array<unsigned char, 32> digest{};
  check(EVP_DigestFinal_ex(context_->evp, digest.data(), nullptr) == 1, "SHA-256 failed");
  std::string text;
  for (const unsigned char byte : digest) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

std::string sha256_of_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  Sha256 hash;
  hash.update(file.bytes());
  return hash.hexadecimal();
}

}  // namespace hedgehog
