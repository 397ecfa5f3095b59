(* Ends its server. *)
theory Kill imports Try begin
ML ‹
val () = Posix.Process.kill (Posix.Process.K_PROC (Posix.ProcEnv.getppid ()), Posix.Signal.kill);
›
end
