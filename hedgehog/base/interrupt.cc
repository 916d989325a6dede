#include "hedgehog/base/interrupt.h"

#include <csignal>

namespace hedgehog {
namespace {

volatile std::sig_atomic_t signal_came = 0;

void on_signal(int number) {
  if (signal_came != 0) {
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  signal_came = 1;
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
  return signal_came != 0;
}

}  // namespace hedgehog
