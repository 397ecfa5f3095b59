package manager

import "time"

// Limits bound what tenants and their instances may do.
type Limits struct {
	Handshake time.Duration // for a client's password
	Silence   time.Duration // how long a connection lasts over which nothing comes and no task runs
	Write     time.Duration // for a client to take what it is sent
	Start     time.Duration // for an instance to answer
	Answer    time.Duration // for an instance to answer a command, and to end a task that was canceled
	Ping      time.Duration // between two questions whether it still does
	Build     time.Duration // for session_build and session_start
	Use       time.Duration // for use_theories, from its turn on
	Session   time.Duration // how long a session lasts that nobody uses
	Instance  time.Duration // how long an instance lasts without sessions and clients
	Gone      time.Duration // how long it takes until an instance that nobody is connected to has ended

	Message     int           // bytes of a client's message
	Block       int           // bytes of an instance's message
	Values      int           // of which that consists
	Connections int           // of a tenant
	Sessions    int           // of a tenant
	Tasks       int           // of a tenant, running or waiting
	Theories    int           // of a command; and sessions, directories and options
	Text        int           // bytes of each of them
	Rate        int           // bytes a second of a tenant's messages, both sides together; each counts for 2 KiB at least
	Each        time.Duration // after so much time one more use_theories of a tenant may begin
	Burst       int           // and so many at once
}

// Defaults are the limits of a class of beginners.
func Defaults() Limits {
	return Limits{
		Handshake: 10 * time.Second, Silence: 10 * time.Minute, Write: 30 * time.Second, Start: 30 * time.Second, Answer: 20 * time.Second,
		Ping: 5 * time.Second, Build: 10 * time.Minute, Use: 5 * time.Minute, Session: 30 * time.Minute, Instance: time.Minute, Gone: 4 * time.Second,
		Message: 256 << 10, Block: 4 << 20, Values: 200000, Connections: 8, Sessions: 4, Tasks: 16, Theories: 64, Text: 1024, Rate: 4 << 20,
		Each: 2 * time.Second, Burst: 10,
	}
}
