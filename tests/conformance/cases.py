"""Which command lines show that an operator gives CDO's answers, and on which files.

In a line, `F` is the file and `V` its variable. A case may have another line for cdo where it
wants other inputs (percentiles need the minimum and maximum), files that cdo makes first, and
traits that its file must have. An operator without a case here is named below the table.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One command line."""

    line: str
    cdo: str = ""
    traits: tuple = ()
    without: tuple = ()
    # What cdo makes beforehand: a word of the lines, and the line whose file it stands for.
    made: tuple = ()

    def of_cdo(self):
        return self.cdo or self.line

    def suits(self, file):
        return file.has(*self.traits) and not any(file.has(trait) for trait in self.without)


GROUPS = ["hour", "day", "mon", "year", "seas", "yhour", "yday", "ymon", "yseas"]
STATISTICS = ["min", "max", "range", "sum", "mean", "avg", "std", "std1", "var", "var1"]
HOT = ["tx90p", "tn90p", "tg90p", "hwfi"]
HIGH = ["skew", "kurt", "median"]


def case(line, cdo="", traits=(), without=(), made=()):
    return Case(line, cdo, tuple(traits), tuple(without), tuple(made))


def table():
    """Every operator of the reference, with its cases."""
    rows = {}

    def add(name, *cases):
        rows[name] = list(cases) or [case(f"-{name} F")]

    selections(add)
    statistics(add)
    cells(add)
    series(add)
    files(add)
    grids(add)
    indices(add)
    return rows


def selections(add):
    add("selname", case("-selname,V F"))
    add("delname", case("-delname,nothing F"))
    add("selstdname", case("-selstdname,air_temperature F", traits=["cmip6"]))
    boxes = ["0,90,0,45", "350,10,-30,30", "-180,180,-90,90", "170,190,20,-20"]
    add("sellonlatbox", *[case(f"-sellonlatbox,{box} F", traits=["generated"]) for box in boxes])
    add("selindexbox", *[case(f"-selindexbox,{box} F", traits=["generated"]) for box in ["2,5,3,9", "15,3,1,12"]])
    add("seldate", case("-seldate,2000-02-01,2000-04-30 F", traits=["generated"]))
    add("selyear", case("-selyear,2000,2001 F", traits=["daily", "generated"]))
    add("selmon", case("-selmon,1,6/8 F", traits=["daily"]))
    add("selday", case("-selday,1,15/20 F", traits=["daily"]))
    add("selhour", case("-selhour,0,6/12 F", traits=["hourly"]))
    add("selseason", *[case(f"-selseason,{season} F", traits=["daily"]) for season in ["DJF", "JJAS", "ANN"]])
    add("seltimestep", *[case(f"-seltimestep,{steps} F") for steps in ["1", "2/9", "-1"]])
    add("sellevel", case("-sellevel,100000 F", traits=["levels", "generated"]))
    add("sellevidx", case("-sellevidx,1 F", traits=["levels"]))
    add("del29feb", case("-del29feb F", traits=["daily"]))


def statistics(add):
    for group in ["tim", *GROUPS]:
        for statistic in STATISTICS:
            add(f"{group}{statistic}")
    add("yearmonmean", case("-yearmonmean F", traits=["monthly"]))
    for statistic in [*STATISTICS, *HIGH]:
        # An excess kurtosis below 1e-5 is 0 in CDO: it is seen beside the 3 that it exceeds.
        beside = "-addc,3 " if statistic == "kurt" else ""
        for field in ["fld", "zon", "mer"]:
            line = f"{beside}-{field}{statistic} F"
            add(f"{field}{statistic}", case(line, without=["curvilinear"]))
    for field in ["fld", "zon", "mer"]:
        add(f"{field}pctl", case(f"-{field}pctl,75 F", without=["curvilinear"]))
    add("fldcount", case("-fldcount F"))
    add("fldint", case("-fldint F", without=["curvilinear"]))
    for statistic in STATISTICS:
        add(f"vert{statistic}", case(f"-vert{statistic} F", traits=["levels"]))
        add(f"ens{statistic}", case(f"-ens{statistic} F -addc,1 F -mulc,1.5 F", traits=["generated"]))
    for statistic in HIGH:
        # As above; a skewness that small is 0 too.
        beside = {"kurt": "-addc,3 ", "skew": "-addc,1 "}.get(statistic, "")
        add(f"ens{statistic}", case(f"{beside}-ens{statistic} F -addc,1 F -mulc,1.5 F", traits=["generated"]))
    members = "F -addc,1 F -mulc,1.5 F"
    methods = ["", "--percentile rtype8 ", "--percentile nist "]
    add("enspctl", *[case(f"{method}-enspctl,40 {members}", traits=["generated"]) for method in methods])


def cells(add):
    for name in ["add", "sub", "mul", "div", "min", "max"]:
        beside = "-addc,270 " if name == "sub" else ""
        add(name, case(f"-{name} F -mulc,1.1 F"), case(f"{beside}-{name} F -timmean F"))
    for name, value in [("addc", 2.5), ("subc", 2.5), ("mulc", 2.5), ("divc", 2.5), ("minc", 270), ("maxc", 270)]:
        add(name, case(f"-{name},{value} F"))
    for name in ["eq", "ne", "lt", "le", "gt", "ge"]:
        add(name, case(f"-{name} F -timmean F"))
        add(f"{name}c", case(f"-{name}c,270 F"))
    for name in ["abs", "int", "nint", "sqr", "sqrt", "exp", "ln", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "reci", "not"]:
        scale = "-divc,400" if name in ("exp", "asin", "acos", "tan") else "-subc,200"
        add(name, case(f"-{name} {scale} F"))
    add("pow", case("-pow,1.5 F"))
    add("ifthen", case("-ifthen -gtc,270 F F"))
    add("ifnotthen", case("-ifnotthen -gtc,270 F F"))
    add("ifthenelse", case("-ifthenelse -gtc,270 F F -mulc,2 F"))
    add("ifthenc", case("-ifthenc,7 -gtc,270 F"))
    add("setmissval", case("-setmissval,-1 F"))
    add("setctomiss", case("-setctomiss,0 -gtc,270 F"))
    add("setmisstoc", case("-setmisstoc,273 F"))
    add("setrtomiss", case("-setrtomiss,260,270 F"))
    add("setvrange", case("-setvrange,260,270 F"))
    add("atan2", case("-atan2 F -timmean F"))
    add("setrtoc", case("-setrtoc,260,270,5 F"))
    add("setrtoc2", case("-setrtoc2,260,270,5,6 F"))
    add("setvals", case("-setvals,0,5,1,7 -gtc,270 F"))
    add("ifnotthenc", case("-ifnotthenc,7 -gtc,270 F"))
    add("setclonlatbox", case("-setclonlatbox,5,0,90,-30,30 F", traits=["generated"]))
    add("masklonlatbox", *[case(f"-masklonlatbox,{box} F", traits=["generated"]) for box in ["0,90,-30,30", "350,10,40,-40"]])
    for name in ["muldpm", "divdpm", "muldpy", "divdpy"]:
        add(name, case(f"-{name} F", traits=["monthly"]), case(f"-{name} F", traits=["calendar"]))
    add("mulcoslat", case("-mulcoslat F", traits=["generated"]))
    add("divcoslat", case("-divcoslat F", traits=["generated"]))
    add("setmisstonn", case("-setmisstonn F", traits=["generated"]))
    add("setmisstodis", case("-setmisstodis F", traits=["generated"]))
    expressions = ["y=V*2+1;z=sqrt(y)", "y=(V>270)?V:-1", "w=fldmean(V)-V", "a=V^2-3/4;_t=a;b=_t+clat(V)"]
    add("expr", *[case(f"-expr,{e} F", traits=["generated"]) for e in expressions])
    add("aexpr", case("-aexpr,y=V-273.15 F", traits=["generated"]))
    for group in ["mon", "year", "yday", "ymon", "yseas"]:
        for name in ["add", "sub", "mul", "div"]:
            # A difference of nearly equal numbers shows only rounding: it is seen beside 270 K.
            beside = "-addc,270 " if name == "sub" else ""
            line = f"{beside}-{group}{name} F -{group}mean F"
            add(f"{group}{name}", case(line, traits=["generated"]))


def series(add):
    for group in ["tim", "day", "mon", "year", "seas"]:
        cdo = f"-{group}pctl,30 F -{group}min F -{group}max F"
        add(f"{group}pctl", case(f"-{group}pctl,30 F", cdo, traits=["monthly"] if group == "tim" else ["generated"]))
    for group in ["yday", "ymon", "yseas"]:
        cdo = f"-{group}pctl,30 F -{group}min F -{group}max F"
        add(f"{group}pctl", case(f"-{group}pctl,30 F", cdo, traits=["monthly"]))
    add("timselpctl", case("-timselpctl,30,20 F", "-timselpctl,30,20 F -timselmin,20 F -timselmax,20 F"))
    add("runpctl", case("-runpctl,30,5 F", traits=["generated"]))
    for statistic in STATISTICS:
        add(f"run{statistic}", case(f"-run{statistic},5 F", traits=["generated"]), case(f"-run{statistic},4 F", traits=["generated"]))
        add(f"timsel{statistic}", case(f"-timsel{statistic},7 F"), case(f"-timsel{statistic},7,3,2 F", traits=["generated"]))
        if statistic != "range":
            add(f"ydrun{statistic}", case(f"-ydrun{statistic},5 F", traits=["daily", "generated"]))
    made = [("LEAST", "-ydrunmin,5 F"), ("MOST", "-ydrunmax,5 F")]
    add("ydrunpctl", case("-ydrunpctl,30,5 F", "-ydrunpctl,30,5 F LEAST MOST", ["daily", "generated"], made=made))
    add("timcumsum", case("-timcumsum F"))
    add("timsort", case("-timsort F", traits=["complete"]))
    add("timminidx")
    add("timmaxidx")
    add("regres", case("-regres F", traits=["generated"]))
    add("detrend", case("-detrend F", traits=["generated"]))
    add("trend", case("-trend F", traits=["generated"]))
    add("subtrend", case("-subtrend F -timmean F -regres F", traits=["generated"]))
    add("consecsum", case("-consecsum -gtc,268 F", traits=["generated"]))
    add("consects", case("-consects -gtc,268 F", traits=["generated"]))


def files(add):
    halves = "-seldate,2000-01-01,2000-06-30 F -seldate,2000-07-01,2000-12-31 F"
    for name in ["mergetime", "cat"]:
        add(name, case(f"-{name} {halves}", traits=["daily", "generated"]))
    add("merge", case("-merge F -expr,other=V*2 F", traits=["generated"]))
    add("copy")
    for name in ["splityear", "splitmon", "splitseas", "splitday", "splithour", "splityearmon", "splitname", "splitlevel"]:
        add(name, case(f"-{name} F", traits=["generated"]))
    add("splitsel", case("-splitsel,100 F", traits=["generated"]))
    for name in ["info", "infon", "sinfo", "sinfon", "griddes", "zaxisdes", "ntime", "showname", "showlevel", "showdate", "showtimestamp", "showatts"]:
        add(name, case(f"-{name} F", traits=["generated"]))


def grids(add):
    for name in ["remapnn", "remapdis", "remapbil", "remapcon"]:
        add(name, *[case(f"-{name},{grid} -seltimestep,1/5 F", traits=["global"]) for grid in ["r36x18", "n16", "r10x5"]])
    for name in ["gennn", "gendis", "genbil", "gencon"]:
        add(name, case(f"-remap,r36x18,W -seltimestep,1/5 F", traits=["plain"]))
    add("remap", case("-remap,r36x18,W -seltimestep,1/5 F", traits=["plain"]))
    add("intlevel", case("-intlevel,90000,50000,30000 F", traits=["levels", "generated"]))


def indices(add):
    for name, variable in [
        ("fd", "tasmin"), ("su", "tasmax"), ("id", "tasmax"), ("tr", "tasmin"), ("hd", "tas"),
        ("cdd", "pr"), ("cwd", "pr"), ("cfd", "tasmin"), ("csu", "tasmax"),
        ("rr1", "pr"), ("r1mm", "pr"), ("r10mm", "pr"), ("r20mm", "pr"), ("sdii", "pr"), ("rx1day", "pr"),
    ]:
        add(f"eca_{name}", case(f"-eca_{name} F", traits=[f"eca {variable}"]))
    add("eca_pd", case("-eca_pd,5 F", traits=["eca pr"]), case("-eca_pd,5,freq=month F", traits=["eca pr"]))
    add("eca_rx5day", case("-eca_rx5day -runsum,5 F", traits=["eca pr"]))
    for name in ["strwin", "strbre", "strgal"]:
        add(name, case(f"-{name} F", traits=["eca pr"]))
    # Of a reference of several years CDO takes the last one's day, as --cdo does.
    year = "-seltimestep,1/365 F"
    for name, variable, shift in [("hwdi", "tasmax", -8), ("cwdi", "tasmin", 8)]:
        add(f"eca_{name}", case(f"-eca_{name} {year} -addc,{shift} {year}", traits=[f"eca {variable}"]))
    add("eca_etr", case("-eca_etr F -subc,3 F", traits=["eca tas"]))
    # Of a second series CDO takes the last year's day.
    add("fdns", case(f"-fdns {year} -mulc,1e-4 -subc,240 {year}", traits=["eca tas"]))
    for name in ["tx90p", "tx10p", "tn90p", "tn10p", "tg90p", "tg10p", "hwfi", "cwfi"]:
        # A reference that is not rounded: near a rounded one days may count or not.
        climatology = f"-eca_{name} F -yday{'min' if name in HOT else 'max'} F"
        add(
            f"eca_{name}",
            case(f"-eca_{name} {year} -addc,560 -mulc,-1 {year}", traits=["eca tas"]),
            case(climatology, traits=["eca tas"]),
            case(f"--cdo -eca_{name} F -subc,1 F", f"-eca_{name} F -subc,1 F", traits=["eca tas"]),
        )
    for name in ["r75p", "r90p", "r95p", "r99p", "r75ptot", "r90ptot", "r95ptot", "r99ptot"]:
        add(f"eca_{name}", case(f"-eca_{name} {year} -addc,1 -mulc,0.2 {year}", traits=["eca pr"]))
    # All is land. CDO tells of the southern season before the first year too, and counts days of
    # the year 2000 as if it had a 29 February in every calendar.
    seasons = "-eca_gsl -selyear,2001/2003 F -gtc,0 -seltimestep,1 F"
    add("eca_gsl", case(f"-seltimestep,1/2 {seasons}", f"-seltimestep,2/3 {seasons}", traits=["eca tas"]))
    etccdi(add)


def etccdi(add):
    for name, variable in [("fd", "tasmin"), ("id", "tasmax"), ("tr", "tasmin"), ("su", "tasmax"), ("rx1day", "pr")]:
        add(f"etccdi_{name}", case(f"-etccdi_{name} F", traits=[f"eca {variable}"]))
    # Of these CDO tells one number unless it is asked for years, against its help.
    for name in ["r1mm", "r10mm", "r20mm", "sdii"]:
        words = f"-etccdi_{name}{',1' if name == 'sdii' else ''}"
        line = case(f"-etccdi_{name} F", f"{words},freq=year F", traits=["eca pr"])
        add(f"etccdi_{name}", line, case(f"{words},freq=month F", traits=["eca pr"]))
    add("etccdi_rx5day", case("-etccdi_rx5day -runsum,5 F", traits=["eca pr"]))
    for name in ["cdd", "cwd"]:
        lines = [f"-etccdi_{name} F", f"-etccdi_{name},1,5,freq=month F"]
        add(f"etccdi_{name}", *[case(f"{cdo}{line}", line, traits=["eca pr"]) for line in lines for cdo in ("", "--cdo ")])
    for name, extreme in [("csdi", "max"), ("wsdi", "min")]:
        line = f"-etccdi_{name} F -yday{extreme} F"
        add(f"etccdi_{name}", *[case(f"{cdo}{line}", line, traits=["eca tas"]) for cdo in ("", "--cdo ")])
    for name in ["tx90p", "tx10p", "tn90p", "tn10p"]:
        line = f"-etccdi_{name},5,2000,2002 F"
        made = [("LEAST", "-subc,99 -ydaymin F"), ("MOST", "-addc,99 -ydaymax F")]
        add(f"etccdi_{name}", case(line, f"{line} LEAST MOST", traits=["eca tas"], made=made))
    for name in ["r95p", "r99p"]:
        # The last parameter must be there, and has no effect.
        cdo = f"-etccdi_{name},2000,2002,m F LEAST MOST"
        line = f"-etccdi_{name},2000,2002 F"
        made = [("LEAST", "-timmin F"), ("MOST", "-timmax F")]
        add(f"etccdi_{name}", *[case(f"{by}{line}", cdo, ["eca pr"], made=made) for by in ("", "--cdo ")])
