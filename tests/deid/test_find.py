import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.deid.find import IdentifierFinder, find_check_character, has_valid_checksum
from spacy_tcm.errors import ModelError


@pytest.fixture(scope="module")
def finder():
    return IdentifierFinder.from_path()


def found(finder, text):
    return [(item.kind, text[item.start : item.end]) for item in finder.find(text)]


def test_numbers_have_their_headers(finder):
    text = "姓名：张伟，住院號：88123，联系电话 13812345678，12床"
    numbers = finder.find_numbers(text)
    assert [text[n.start : n.end] for n in numbers] == [
        "住院號：88123",
        "联系电话 13812345678",
        "12床",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("姓名：张伟  性别：男", [("NAME", "张伟")]),
        ("姓名:呙立思 年龄:40岁", [("NAME", "呙立思")]),  # a surname that no list has
        ("姓名：阿依古丽·买买提，女", [("NAME", "阿依古丽·买买提")]),
        ("患者王秀英因腹痛3天入院", [("NAME", "王秀英")]),
        ("患者欧阳明，男，40岁", [("NAME", "欧阳明")]),
        ("其妻李娜代诉。李娜否认传染病史", [("NAME", "李娜"), ("NAME", "李娜")]),
        ("赵铁柱，男，56岁，农民", [("NAME", "赵铁柱")]),
        ("患者于海，男，40岁", [("NAME", "于海")]),
        ("医师签名：陈静/李明", [("DOCTOR", "陈静"), ("DOCTOR", "李明")]),
        ("主治医师：周涛  2024年3月5日", [("DOCTOR", "周涛"), ("DATE", "2024年3月5日")]),
        ("王建国主任医师查房", [("DOCTOR", "王建国")]),
        ("请李主任会诊", [("DOCTOR", "李")]),
        ("身份证号：11010519491231002X", [("ID_CARD", "11010519491231002X")]),
        ("身份证 440524188001010014已核", [("ID_CARD", "440524188001010014")]),
        ("130503670401001", [("ID_CARD", "130503670401001")]),
        ("手机 138 1234 5678", [("MOBILE", "138 1234 5678")]),
        ("电话：１３８１２３４５６７８", [("MOBILE", "１３８１２３４５６７８")]),
        ("电话010-62345678", [("LANDLINE", "010-62345678")]),
        ("住院号：ZY202400123 床号：+12床", [("RECORD_NO", "ZY202400123"), ("BED", "+12床")]),
        ("病案号000123", [("RECORD_NO", "000123")]),
        ("医保卡号：330112345678", [("INSURANCE", "330112345678")]),
        ("检查号：P2024-0012", [("RECORD_NO", "P2024-0012")]),
        ("患者陳大文，住院號：88123", [("NAME", "陳大文"), ("RECORD_NO", "88123")]),
        ("聯繫人：歐陽娜 電話：2345-6789", [("NAME", "歐陽娜"), ("LANDLINE", "2345-6789")]),
        ("患者趙麗華，女，診斷醫師：蔣偉", [("NAME", "趙麗華"), ("DOCTOR", "蔣偉")]),
        ("病歷號碼：A12345，MRN 0012345", [("RECORD_NO", "A12345"), ("RECORD_NO", "0012345")]),
        ("MRI：2023", []),
        ("邮编：310012", [("POSTCODE", "310012")]),
        ("微信号：abc_12345 QQ：123456789", [("WECHAT", "abc_12345"), ("QQ", "123456789")]),
        ("a.b12@163.com", [("EMAIL", "a.b12@163.com")]),
        ("驾驶浙A12B45途中", [("PLATE", "浙A12B45")]),
        (
            "住址：浙江省杭州市西湖区文三路12号3幢501室 邮编310012",
            [("ADDRESS", "浙江省杭州市西湖区文三路12号3幢501室"), ("POSTCODE", "310012")],
        ),
        ("家住临泉县瓦店镇李庄村3组。", [("ADDRESS", "临泉县瓦店镇李庄村3组")]),
        ("工作单位：杭州天目机械有限公司", [("EMPLOYER", "杭州天目机械有限公司")]),
        ("就职于任丘市第三中学，久坐", [("EMPLOYER", "任丘市第三中学")]),
        ("曾于北京协和医院就诊", [("HOSPITAL", "北京协和医院")]),
        ("转诊至临泉县中医院", [("HOSPITAL", "临泉县中医院")]),
        ("出生日期：1956-03-12", [("BIRTH", "1956-03-12")]),
        ("1956年3月出生", [("BIRTH", "1956年3月")]),
        ("2023年5月起病", [("MONTH", "2023年5月")]),
        ("患者，女，93岁", [("AGE", "93")]),
        ("九十二岁", [("AGE", "九十二")]),
    ],
)
def test_found(finder, text, expected):
    assert found(finder, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "黄芪30g 当归10g 生地黄15g(先煎) ×7剂 水煎服 日一剂",
        "血压120/80mmHg，WBC 11.6×10^9/L，HBV-DNA 1.38×10^5，肌酐88μmol/L，24h尿量1500ml",
        "编码310012，结果123456，批号20240305",
        "患者于昨日，患者常感乏力，患者曾服药，患者高热3天，患者安静，患者自诉，患者余无不适。",
        "患者男，58岁，其父患白血病，母亲高血压，父亲体健。",
        "姓名：略  联系人：本人  病史陈述者：患者本人",
        "在当地医院、外院、某医院、县医院、上级医院就诊，我院门诊，市第一人民医院",
        "主治医师查房，上级医师意见，值班医师已知，高年资医师，中医师",
        "患者89岁，体温38.9℃，病程90天，心率96次/分，卧床3天，3床旁摄片数",
        "心前区疼痛，肝区叩痛，消化道出血，住院2周，来自农村",
        "素问·痹论，《金匮要略·痉湿暍病》，足三里，1号方",
        "身份证号码已核对，电话随访，床旁心电图",
        "330106195603121234",  # the check character is not right
        "张某，女；李某某，男",
        "肿瘤大小13812345678.5",
    ],
)
def test_not_found(finder, text):
    assert found(finder, text) == []


def test_the_checksum():
    assert has_valid_checksum("11010519491231002X")
    assert has_valid_checksum("11010519491231002x")
    assert not has_valid_checksum("110105194912310021")
    assert not has_valid_checksum("11010519491231002")
    assert find_check_character("44052418800101001") == "4"


@given(st.text())
def test_any_text(text):
    at = 0
    for item in IdentifierFinder.from_path().find(text):
        assert at <= item.start < item.end <= len(text)
        at = item.end


def test_a_table_of_ones_own(finder, tmp_path):
    data = json.loads(json.dumps(finder.data))
    data["kinds"]["SAMPLE"] = "样品"
    data["numbers"]["SAMPLE"] = {"cues": ["样品"], "value": "S\\d+"}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(data), "utf8")
    assert found(IdentifierFinder.from_path(path), "样品：S12") == [("SAMPLE", "S12")]
    del data["kinds"]["SAMPLE"]
    with pytest.raises(ModelError, match=r"E636.*'SAMPLE' is not among the 'kinds'"):
        IdentifierFinder(data)
    path.write_text("{", "utf8")
    with pytest.raises(ModelError, match=r"E636.*own\.json"):
        IdentifierFinder.from_path(path)
