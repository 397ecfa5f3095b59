// Package zoobar is an application in services that do not trust each other:
// the site of an operating-systems course, where people send each other zoobars
// and write profiles that run as programs. What it does and how to start it
// stands in README.md, who may reach whom in cofferdam.yaml.
//
// The package itself holds only the end-to-end test, which starts the real
// cofferdam with the real manifest and attacks it from outside and inside.
//
// Trusted: no.
package zoobar
