// Package protocol is what the Isabelle server and its clients say to each
// other: how bytes become messages ([Reader], [Frame]), what a message is made
// of ([Parse], [ParseJSON]), what commands take ([Arguments]) and the exact
// words of replies ([BadCommand] and the like).
//
// It reads bytes of strangers on both sides of a gateway, and so everything in
// it is bounded: a length is believed only as far as bytes have arrived.
//
// Trusted: no. It runs inside environments. A wrong answer here lets the two
// ends of a gateway understand one message differently.
package protocol
