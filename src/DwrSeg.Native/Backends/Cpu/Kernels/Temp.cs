#pragma warning disable
using DwrSeg.Native.Backends;
namespace DwrSeg.Native.Backends.Cpu.Kernels;
internal static unsafe class Preprocess { public static void Run(WorkerPool pool, in ImageView im, Map x, in Normalization n)=>throw new NotImplementedException(); }
internal static unsafe class ArgMaxHead { public static void Run(WorkerPool pool, Map x,int h,int w,Span<byte> c,Span<byte> f)=>throw new NotImplementedException(); }
