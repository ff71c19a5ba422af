#pragma once

// Logarithm, sine and cosine for Box-Muller transforms, from additions, multiplications and divisions alone. The C
// library's are as exact, but may differ in the last bit from one library or processor to the next, and a seed has to
// give the same noise everywhere.

namespace dreamlab {

// Natural logarithm of a normal, positive number; relative error about 2e-16.
double portable_log(double x);

struct SineCosine {
  double sine;
  double cosine;
};
// Of an angle in [0, 2 pi] (radians); absolute error about 2e-16.
SineCosine portable_sincos(double angle);

}  // namespace dreamlab
