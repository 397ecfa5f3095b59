// Package spawner is the process that makes environments.
//
// It is a role of the same binary, started once by executor/namespace and spoken
// to over one socket (package link). It holds the privileges: root, or root of a
// user namespace of its own. The trusted process next to it needs none.
//
// How an environment comes about:
//
//   - A cradle is a process with a stack, the scripts of all, and nothing else of the
//     spawner. It makes inits: cloning from it copies next to nothing. In version 1 of cgroups
//     each cgroup has one in it, so that nothing is ever attached while somebody waits
//     (up to 8 ms after idleness).
//   - A blank is an init waiting for instructions, in new user, mount, pid, ipc, uts
//     namespaces and a network namespace, with its ids, and in its cgroup. Blanks know
//     nothing of what they will run and are used once; a few wait ahead. Their cgroup and
//     network may be of one before, if nothing is left in them that tells of it.
//   - A layout is a file tree without anything of one instance in it: read-only
//     binds, links, mount points, small files of /etc. It is built once and its
//     mounts are cloned per start.
//   - A prepared environment is a blank that has carried out all of its script but for what
//     is one instance's alone, up to the execve. It is claimed once.
//   - An interpreter that is executed ahead waits in a prepared environment as its program, in a system
//     call that we answer: with what it is to run, and its streams.
//   - A zygote is an interpreter of Python that has loaded its modules, in an environment
//     of its own. There are blanks in its namespaces, each with a fork of it beside the
//     init: what runs in them does so without being executed.
//   - A start writes a script (package internal/linux) that turns a blank into
//     the environment: enter the tree, mount what is its own, give up every
//     capability, start the program under Landlock and seccomp, wait for it.
//
// Threads: the cloner is one locked thread that lives as long as the process,
// because the death signal of a child is about the thread that made it, or its cradle. It has a
// mount namespace with next to nothing in it, so that copying that is cheap. One thread makes
// network namespaces, one visits those of environments. Everything else is ordinary
// goroutines. Locks: server.mu before instance.volumesMu, holds.mu, instance.mu; holds.mu before those of zygotes and of each zygote, which stand alone; that of nests, networks and stocks alone; none is held over a
// system call that can wait for a program.
//
// What the kernel taught:
//
//   - proc can be mounted in a user namespace only where a fully visible proc is
//     mounted already, so the cloner's mount namespace keeps one.
//   - A mount namespace is copied mount by mount; that of the host has dozens.
//   - The death signal is cleared when credentials change: it is set after them.
//   - The init closes its control socket before its namespace has been emptied;
//     what tells that everything is gone is that the init itself can be reaped.
//
// Trusted: yes. It is root, in its namespace or of the host.
package spawner
