// Package fakeserver is an Isabelle server without Isabelle: what a client sees
// of the real one, from the line that it prints to the last field of a result.
//
// Its theories run. A session has a process of Poly/ML, as in the original, and
// what a theory says in ML is evaluated there, with all that Poly/ML can do:
// files, programs, sockets. So whoever keeps this server apart from others keeps
// apart what the real one would have let through.
//
// What it proves is little: a statement holds if it is a tautology of its
// propositional parts, an equation of the same two sides or of two numbers. All
// methods are that one. Definitions are taken on trust; Isar proofs, other than by,
// apply and done, are not understood, and it says so. ML is evaluated in one name
// space for each session, and of antiquotations it knows two.
//
// The server ([Server]) has sessions ([session]); a session has a prover and
// theories (document); a connection has tasks. Locks: a session's before a
// task's; none is held while something is evaluated.
//
// Trusted: no. It is the program that others are protected from.
package fakeserver
