#pragma warning disable
using DwrSeg.Native.Backends;
namespace DwrSeg.Native.Backends.Cpu.Kernels;
internal sealed unsafe class OhemCrossEntropy(long px): IDisposable {
  public void Run(WorkerPool pool, Map l, byte* labels, byte ignore, float thr, float frac, float* loss, float* w){ long P=l.Pixels; var ls=new double[P]; int valid=0; for(long p=0;p<P;p++){ if(labels[p]==ignore){ls[p]=-1;continue;} valid++; float* z=l.Data+p*l.PixelStride; double m=double.MinValue; for(int c=0;c<l.C;c++) m=Math.Max(m,z[c]); double s=0; for(int c=0;c<l.C;c++) s+=Math.Exp(z[c]-m); ls[p]=Math.Log(s)+m-z[labels[p]]; }
   double t=-Math.Log(thr); long k=ls.Count(v=>v>t && v>=0); long min=(long)(valid*frac); if(k<min){ var so=ls.OrderByDescending(v=>v).ToArray(); t=so[min]; k=min; } double sum=0; long n=0; for(long p=0;p<P;p++){ w[p]=0; if(ls[p]>=0&&ls[p]>t){ sum+=ls[p]; w[p]=1f/k; n++; } } *loss=k==0?0:(float)(sum/k); }
  public void Dispose(){} }
internal static unsafe class CrossEntropyGradient { public static void Run(WorkerPool pool, Map l, byte* labels, float* w, float* dl, Map d, bool acc){ for(long p=0;p<l.Pixels;p++){ float* z=l.Data+p*l.PixelStride, o=d.Data+p*d.PixelStride; double m=double.MinValue; for(int c=0;c<l.C;c++) m=Math.Max(m,z[c]); double s=0; for(int c=0;c<l.C;c++) s+=Math.Exp(z[c]-m); for(int c=0;c<l.C;c++) { float g= w[p]==0?0:(float)(w[p]* *dl*(Math.Exp(z[c]-m)/s-(labels[p]==c?1:0))); o[c]=(acc?o[c]:0)+g; } } } }
internal static unsafe class Preprocess { public static void Run(WorkerPool pool, in ImageView im, Map x, in Normalization n)=>throw new NotImplementedException(); }
internal static unsafe class ArgMaxHead { public static void Run(WorkerPool pool, Map x,int h,int w,Span<byte> c,Span<byte> f)=>throw new NotImplementedException(); }
