// What one instruction set exports: a file of this folder each, compiled once per instruction set with PW_ISA defined.
#pragma once

#include "../problem.hpp"

#define PW_JOIN_(name, isa) name##_##isa
#define PW_JOIN(name, isa) PW_JOIN_(name, isa)
#define PW_ISA_NAME(name) PW_JOIN(name, PW_ISA)
#define PW_QUOTE_(name) #name
#define PW_QUOTE(name) PW_QUOTE_(name)

namespace poolwise {

UnitFn PW_ISA_NAME(compare)(const Problem& pb, bool with_offsets);
UnitFn PW_ISA_NAME(compare_narrow)(const Problem& pb, bool with_offsets);
UnitFn PW_ISA_NAME(average)(const Problem& pb);
UnitFn PW_ISA_NAME(average_narrow)(const Problem& pb);
UnitFn PW_ISA_NAME(average_integers)(const Problem& pb);
UnitFn PW_ISA_NAME(power)(const Problem& pb);
UnitFn PW_ISA_NAME(power_narrow)(const Problem& pb);
UnitFn PW_ISA_NAME(median)(const Problem& pb, bool positions);
UnitFn PW_ISA_NAME(blur)(const Problem& pb);
UnitFn PW_ISA_NAME(back_select)(const Problem& pb, bool with_sign);
UnitFn PW_ISA_NAME(back_linear)(const Problem& pb);
UnitFn PW_ISA_NAME(gather_narrow)(const Problem& pb, bool select);
UnitFn PW_ISA_NAME(back_power)(const Problem& pb);
UnitFn PW_ISA_NAME(back_median)(const Problem& pb);
UnitFn PW_ISA_NAME(back_blur)(const Problem& pb);
i64 PW_ISA_NAME(beside)(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory);
void PW_ISA_NAME(indices)(const Problem& pb, const void* offsets, i64* indices, i64 begin, i64 end);
const Kernels& PW_ISA_NAME(kernels)();

}  // namespace poolwise
