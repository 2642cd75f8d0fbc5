"""How GPAW is built from PyPI."""

# GPAW from PyPI with nothing but a C++ compiler: no libxc, no BLAS, no FFTW, no MPI.
#
#   GPAW_CONFIG=$PWD/packaging/gpaw_siteconfig.py \
#       pip install --no-cache-dir 'gpaw==26.7.0' 'gpaw-data==1.2.1'
#
# --no-cache-dir, since pip would otherwise reuse a wheel that was built with other settings.
# PBE is built into GPAW, and linear algebra then goes through SciPy's own BLAS. For production
# runs build against libxc, a threaded BLAS and MPI instead (GPAW's installation page).
nolibxc = True
noblas = True
mpi = False
compiler = "g++"
libraries = []
