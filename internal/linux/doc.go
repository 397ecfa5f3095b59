// Package linux wraps the system calls that the isolation of programs is made
// of and that neither the standard library nor x/sys offers in the form needed.
//
// The heart is the [Script]: a list of system calls, prepared in ordinary Go,
// that a freshly cloned child carries out without allocation, locks or a Go
// runtime. A script lies in shared memory, a place of a [Room], so that the child can be
// cloned long before anybody knows what it will have to do, by a [Cradle], which is a process
// with hardly any memory, so that there is hardly anything to copy:
//
//	room, err := linux.NewRoom(-1)
//	cradle, err := linux.NewCradle(room)
//	…
//	script, err := room.NewScript()
//	child, err := cradle.Clone(script, unix.CLONE_NEWUSER|unix.CLONE_NEWUTS, -1, -1)
//	ctl := script.Control()
//	script.Setup.Add("set host name", unix.SYS_SETHOSTNAME, script.String("a"), 1)
//	script.Claim.Add("execute", unix.SYS_EXECVE, path, argv, envp)
//	err = script.Go(ctl, fds)
//	report, pidfd, err := script.ReadReport(ctl)
//
// What a child may run between clone and execve is the same as in the standard
// library's syscall.forkAndExecInChild: code that neither grows the stack nor
// allocates nor is instrumented. It is one small interpreter, child.go;
// everything else is data.
//
// Trusted: yes. It is the only package of ours with unsafe in it, and the child
// it makes has every capability until its script has given them up.
package linux
