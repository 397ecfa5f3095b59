(* Writes garbage to the descriptor over which its server hears it. *)
theory Pipe imports Try begin
ML ‹
val () = tell "pipe" "begun";
val fd = Posix.FileSys.wordToFD 0w4;
fun garbage n = (Posix.IO.writeVec (fd, Word8VectorSlice.full (Byte.stringToBytes "99999999 garbage\n\000\255 done 1 2 3\n")); if n > 0 then garbage (n - 1) else ());
val () = garbage 1000;
›
end
