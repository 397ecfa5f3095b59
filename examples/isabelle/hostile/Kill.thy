(* Ends its server. *)
theory Kill imports Try begin
ML ‹
val () = Posix.Process.kill (Posix.Process.K_PROC (Posix.ProcEnv.getppid ()), Posix.Signal.kill);
val () = OS.Process.sleep (Time.fromSeconds 60);
›
end
