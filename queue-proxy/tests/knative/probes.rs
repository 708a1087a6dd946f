//! Health checks, ingress probes and the readiness probe against real sockets: clauses 76 to 95 of the queue-proxy
//! contract, one test each, and containers that mean harm.
mod answers;
mod hostile;
mod kinds;
mod kit;
mod rhythm;
mod servers;
