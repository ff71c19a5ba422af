#pragma once

#include <exception>
#include <new>

#include "base/error.h"

namespace dreamlab {

// The exception that is being handled as an Error: memory that ran out by its kind, what is none of ours as internal.
// To be called in a catch block.
inline Error caught_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {ErrorKind::out_of_memory, "out of memory"};
  } catch (const std::exception& error) {
    return {ErrorKind::internal, error.what()};
  } catch (...) {
    return {ErrorKind::internal, "something was thrown that is no exception"};
  }
}

}  // namespace dreamlab
