// Dropout: the share that is dropped, the mean that stays, and masks that are a function of seed, stream and order.
#include "hedgehog/models/dropout.h"

#include "model_support.h"

namespace hedgehog {
namespace {

TEST(DropoutTest, DropsItsShareAndKeepsTheMean) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Dropout dropout(1);
    const at::Tensor x = at::ones({400, 500}, dtype), y = dropout(x, 0.3);
    EXPECT_EQ(y.scalar_type(), dtype);
    EXPECT_NEAR(y.eq(0).to(at::kDouble).mean().item<double>(), 0.3, 0.01);
    EXPECT_NEAR(y.to(at::kDouble).mean().item<double>(), 1, 0.02);
    const at::Tensor kept = y.masked_select(y.ne(0));
    EXPECT_EQ(kept.min().item<float>(), kept.max().item<float>());
  }
}

TEST(DropoutTest, IsAFunctionOfSeedStreamAndOrder) {
  const at::Tensor x = at::ones({50, 50});
  Dropout one(1), same(1), other(2), stream(1, 1), none;
  const at::Tensor first = one(x, 0.5);
  EXPECT_TRUE(at::equal(same(x, 0.5), first));
  EXPECT_FALSE(at::equal(one(x, 0.5), first));
  EXPECT_FALSE(at::equal(other(x, 0.5), first));
  EXPECT_FALSE(at::equal(stream(x, 0.5), first));
  EXPECT_TRUE(at::equal(none(x, 0.5), x));
  EXPECT_TRUE(at::equal(one(x, 0), x));
}

TEST(DropoutTest, ItsGradientHasTheSameMask) {
  Dropout dropout(4);
  at::Tensor x = at::ones({30, 30}).requires_grad_(true);
  const at::Tensor y = dropout(x, 0.25);
  y.sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), y.detach()));
}

}  // namespace
}  // namespace hedgehog
