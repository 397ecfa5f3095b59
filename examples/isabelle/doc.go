// Package isabelle puts Isabelle servers, which run whatever their users write,
// behind a manager that keeps the users apart: README.md.
package isabelle
