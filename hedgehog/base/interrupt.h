// Ctrl-C and SIGTERM as a flag that long loops poll, so that they can save and stop cleanly.
#pragma once

namespace hedgehog {

/// Makes SIGINT and SIGTERM set the flag. A second signal ends the process at once.
void catch_interrupts();

/// True once a signal has come.
bool interrupted();

/// What a loop throws after it has saved its state. Not an Error: the program ends with status 130 and no error line.
struct Interrupted {};

}  // namespace hedgehog
